#include "topology/dump.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "topology/test_hosts.h"

namespace quire {
namespace {

std::string FaultOf(const std::string& text) {
  const auto topology = TopologyFromText(text, "host.json");
  if (topology) return "it reads";
  EXPECT_EQ(topology.error().kind, ErrorKind::kConfig);
  return topology.error().message;
}

TEST(Dump, ReadsWhatItWrites) {
  for (const char* host :
       {"two_nodes_sys", "four_pcie_4090", "eight_nvswitch_h200", "one_gpu", "no_gpu"}) {
    const Topology topology = TestHost(host);
    const std::string text = TopologyDump(topology);
    const auto again = TopologyFromText(text, std::string(host) + ".json");
    ASSERT_TRUE(again) << again.error().message;
    EXPECT_EQ(TopologyDump(*again), text);
    EXPECT_EQ(WriteJson(ToJson(*again)), WriteJson(*ParseJson(text)));
    // The files are as we write them, so that a diff of two shows what differs.
    EXPECT_EQ(text, TestFileText(TopologyData() / (std::string(host) + ".json")));
  }
}

TEST(Dump, KeepsEveryField) {
  Topology topology;
  topology.hostname = "h\"ost";
  topology.notes = {"µ"};
  topology.nodes = {{0, "0-3", 1024, {10}}};
  GpuFacts gpu;
  gpu.index = 3;
  gpu.name = "n";
  gpu.uuid = "u";
  gpu.pci_address = "0000:01:00.0";
  gpu.compute_capability = 120;
  gpu.memory_bytes = 100;
  gpu.memory_free_bytes = 50;
  gpu.memory_name = "HBM";
  gpu.pcie = {1, 2, 3, 4};
  gpu.num_nvlinks = 4;
  gpu.nvlink_gb_per_s = 14.062;
  gpu.nvswitch = true;
  gpu.numa_node = 0;
  gpu.cpu_affinity = "0-1";
  gpu.power_watts = 10.5;
  gpu.power_limit_watts = 20;
  topology.gpus = {gpu, gpu};
  topology.gpus[1].index = 9;
  GpuPair pair{3, 9, LinkKind::kNvLink, 4, true, false, "hang", 1.5, 2.5, 0.75};
  topology.pairs = {pair};
  topology.host_copies = {{3, 1, 2, 3, 4, 5, 6}};
  const auto again = TopologyFromText(TopologyDump(topology), "x");
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(TopologyDump(*again), TopologyDump(topology));
  EXPECT_EQ(again->gpus[1].pcie.max_width, 4);
  EXPECT_EQ(again->Pair(9, 3)->peer_failure, "hang");
  EXPECT_EQ(again->Pair(9, 3)->peer_works, false);
  EXPECT_EQ(again->host_copies[0].all_to_host, 6);
  EXPECT_EQ(again->nodes[0].distances, std::vector<int>{10});
}

TEST(Dump, RefusesWithFileAndField) {
  const auto with = [](const std::string& fields) {
    return FaultOf("{\"quire_topology\": 1, " + fields + "}");
  };
  const std::string at = "host.json: ";
  EXPECT_EQ(FaultOf("{\"gpus\": []}"),
            at + "quire_topology: is missing: this is no dump of quire topo");
  EXPECT_EQ(FaultOf("{\"quire_topology\": 2}"),
            at + "quire_topology: the dump is of version 2, this program reads version 1");
  EXPECT_EQ(FaultOf("{\"quire_topology\": 1"), at + "could not parse the JSON (near byte 21)");
  EXPECT_EQ(with("\"gpu\": []"), at + "gpu: is an unknown field");
  EXPECT_EQ(with("\"num_cores\": -1"), at + "num_cores: must be a whole number from 0 to 1048576");
  EXPECT_EQ(with("\"num_cores\": 1.5"), at + "num_cores: must be a whole number from 0 to 1048576");
  EXPECT_EQ(with("\"memory_bytes\": 18446744073709551615"),
            at + "memory_bytes: must be a whole number from 0 to 1125899906842624");
  EXPECT_EQ(with("\"cpu\": \"\\u001b[31m\""),
            at + "cpu: must be text of at most 1024 bytes without control characters");
  EXPECT_EQ(with("\"gpus\": 3"), at + "gpus: must be a list of at most 64 entries");
  EXPECT_EQ(with("\"gpus\": [7]"), at + "gpus[0]: must be an object");
  EXPECT_EQ(with("\"gpus\": [{}]"), at + "gpus[0].index: is missing");
  EXPECT_EQ(with("\"gpus\": [{\"index\":0,\"pcie\":{\"lanes\":4}}]"),
            at + "gpus[0].pcie.lanes: is an unknown field");
  EXPECT_EQ(with("\"gpus\": [{\"index\":0},{\"index\":0}]"),
            at + "gpus[1].index: must be larger than the one before");
  EXPECT_EQ(with("\"gpus\": [{\"index\":0,\"cpu_affinity\":\"all\"}]"),
            at + "gpus[0].cpu_affinity: must be a list of cores as 0-15,32-47");
  EXPECT_EQ(with("\"notes\": [1]"),
            at + "notes[0]: must be text of at most 1024 bytes without control characters");
  EXPECT_EQ(with("\"nodes\": [{\"id\":0,\"distances\":[10,-1]}]"),
            at + "nodes[0].distances[1]: must be a whole number from 0 to 1000");
  EXPECT_EQ(with("\"nodes\": [{\"id\":0,\"distances\":[10,20]}]"),
            at + "nodes[0].distances: must have an entry for each node");
  const std::string two = "\"gpus\": [{\"index\":0},{\"index\":1}], \"pairs\": ";
  EXPECT_EQ(with(two + "[{\"a\":0,\"b\":1,\"link\":\"NVL\"}]"),
            at + "pairs[0].link: must be NV, PIX, PXB, PHB, NODE, SYS or ?");
  EXPECT_EQ(with(two + "[{\"a\":0,\"b\":1,\"link\":\"NV\"}]"),
            at + "pairs[0].num_nvlinks: must be there where link is NV, and only there");
  EXPECT_EQ(with(two + "[{\"a\":1,\"b\":0,\"link\":\"PIX\"}]"),
            at + "pairs[0]: a and b must be GPUs of this file, a < b");
  EXPECT_EQ(with(two + "[{\"a\":0,\"b\":1,\"link\":\"PIX\"},{\"a\":0,\"b\":1,\"link\":\"PIX\"}]"),
            at + "pairs[1]: is there twice");
  EXPECT_EQ(with(two + "[{\"a\":0,\"b\":1,\"link\":\"PIX\",\"peer_works\":1}]"),
            at + "pairs[0].peer_works: must be true or false");
  EXPECT_EQ(with(two + "[{\"a\":0,\"b\":1,\"link\":\"PIX\",\"copy_gb_per_s\":-3}]"),
            at + "pairs[0].copy_gb_per_s: must be a number from 0 to 1e9");
  EXPECT_EQ(with("\"host_copies\": [{\"gpu\":0}]"),
            at + "host_copies[0].gpu: must be a GPU of this file, each once");
}

// Every prefix and every changed byte ends in a topology or in an error, never in a crash.
TEST(Dump, SurvivesBrokenFiles) {
  const std::string text = TestFileText(TopologyData() / "two_nodes_sys.json");
  for (std::size_t size = 0; size + 2 < text.size(); size += 7) {
    const auto topology = TopologyFromText(std::string_view(text).substr(0, size), "x");
    EXPECT_FALSE(topology.ok());
  }
  for (std::size_t at = 0; at < text.size(); at += 3) {
    std::string broken = text;
    broken[at] = static_cast<char>("{[\"0-\x1b,:\xff"[at % 9]);
    (void)TopologyFromText(broken, "x").ok();
  }
}

TEST(Topology, NamesAndSpeeds) {
  for (const LinkKind kind : {LinkKind::kSelf, LinkKind::kNvLink, LinkKind::kPix, LinkKind::kPxb,
                              LinkKind::kPhb, LinkKind::kNode, LinkKind::kSys, LinkKind::kUnknown})
    EXPECT_EQ(LinkKindOf(LinkKindName(kind)), kind);
  EXPECT_EQ(LinkKindOf("NV4"), std::nullopt);
  EXPECT_NEAR((PcieLink{0, 0, 3, 16}).TheoreticalGbPerS(), 15.75, 0.01);
  EXPECT_NEAR((PcieLink{1, 16, 4, 16}).TheoreticalGbPerS(), 31.5, 0.01);
  EXPECT_NEAR((PcieLink{0, 0, 5, 8}).TheoreticalGbPerS(), 31.5, 0.01);
  EXPECT_NEAR((PcieLink{0, 0, 6, 16}).TheoreticalGbPerS(), 121.0, 0.1);
  EXPECT_EQ((PcieLink{1, 16, 0, 16}).TheoreticalGbPerS(), 0);
}

}  // namespace
}  // namespace quire
