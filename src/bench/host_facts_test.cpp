#include "bench/host_facts.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <string>

namespace quire {
namespace {

TEST(HostFacts, SaysWhatIsKnown) {
  Topology topology;
  topology.hostname = "node7";
  topology.cpu = "AMD EPYC";
  topology.num_sockets = 2;
  topology.num_cores = 64;
  topology.num_threads = 128;
  topology.memory_bytes = std::int64_t{512} << 30;
  topology.gpus.resize(2);
  for (GpuFacts& gpu : topology.gpus) {
    gpu.name = "NVIDIA H200";
    gpu.memory_bytes = std::int64_t{141} << 30;
  }
  topology.pairs.push_back({0, 1, LinkKind::kNvLink, 18, {}, {}, {}, {}, {}, {}});
  const HostFacts lines = HostFactsOf(topology);
  std::map<std::string, std::string> facts(lines.begin(), lines.end());
  EXPECT_EQ(facts["Host"], "node7");
  EXPECT_EQ(facts["CPU"], "AMD EPYC, 2 sockets, 64 cores, 128 threads");
  EXPECT_EQ(facts["Memory"], "512.0 GiB");
  EXPECT_EQ(facts["GPUs"], "2 x NVIDIA H200, 141 GiB");
  EXPECT_EQ(facts["GPU links"], "NV18 (1 pair)");
  EXPECT_FALSE(facts.contains("Driver"));
  EXPECT_TRUE(HostFactsOf(Topology()).empty());
}

TEST(ModelFolder, TellsDtypeAndSizeOfTheWeights) {
  std::string name = testing::TempDir() + "quire-model-XXXXXX";
  ASSERT_NE(::mkdtemp(name.data()), nullptr);
  const std::filesystem::path folder(name);
  const auto describe = [&](const char* config) {
    std::ofstream(folder / "config.json") << config;
    RunSubject subject;
    DescribeModelFolder(folder, subject);
    return subject;
  };
  std::ofstream(folder / "model.safetensors") << std::string(1000, 'x');
  std::ofstream(folder / "other.bin") << std::string(1000, 'x');
  EXPECT_EQ(describe(R"({"torch_dtype":"bfloat16"})").dtype, "bfloat16");
  EXPECT_DOUBLE_EQ(describe(R"({"torch_dtype":"bfloat16"})").weights_gb, 1e-6);
  EXPECT_EQ(describe(R"({"dtype":"float16"})").dtype, "float16");
  EXPECT_EQ(describe(R"({"dtype":"float16","quantization_config":{"quant_method":"fp8"}})").dtype,
            "fp8");
  EXPECT_EQ(describe(R"({"dtype":7,"quantization_config":[]})").dtype, "");
  EXPECT_EQ(describe("[").weights_gb, 0);
  RunSubject said;
  said.dtype = "int4";
  said.weights_gb = 3;
  std::ofstream(folder / "config.json") << R"({"dtype":"float16"})";
  DescribeModelFolder(folder, said);
  EXPECT_EQ(said.dtype, "int4");
  EXPECT_EQ(said.weights_gb, 3);
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace quire
