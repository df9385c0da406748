#include "backend/cuda/gemm_table.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace quire::cuda {
namespace {

namespace fs = std::filesystem;

constexpr const char* kDevice = "NVIDIA H200";
const GemmKey kKey{4608, 3584, DType::kBF16, DType::kBF16, true};
const GemmKey kHead{152064, 3584, DType::kF16, DType::kF32, false};

class GemmTableTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("gemm_table_test." + std::to_string(::getpid()));
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::string Path(const std::string& name) const { return (folder_ / name).string(); }
  std::string File(const std::string& text) const {
    std::ofstream(Path("file.json")) << text;
    return Path("file.json");
  }
  static std::string Found(const GemmTable& table, const GemmKey& key, std::int64_t rows) {
    std::int64_t bucket = 0;
    const GemmChoice* choice = table.Find(key, rows, &bucket);
    return choice == nullptr ? "" : choice->kernel + "@" + std::to_string(bucket);
  }

  fs::path folder_;
};

TEST_F(GemmTableTest, BucketsAreFineForSmallBatches) {
  const std::int64_t expected[][2] = {
      {1, 1},     {2, 2},     {3, 4},      {5, 8},       {8, 8},       {9, 16},     {17, 32},
      {257, 272}, {512, 512}, {513, 1024}, {1024, 1024}, {1025, 2048}, {8192, 8192}};
  for (const auto& [rows, bucket] : expected) {
    EXPECT_EQ(GemmRowBucket(rows), bucket) << rows;
    EXPECT_EQ(GemmRowBucket(bucket), bucket) << rows;
  }
}

TEST_F(GemmTableTest, TakesTheNextKnownBucketThatIsNear) {
  GemmTable table;
  EXPECT_EQ(Found(table, kKey, 1), "");
  table.Set(kKey, 1, {"a", 1});
  table.Set(kKey, 16, {"b", 1});
  table.Set(kKey, 64, {"c", 1});
  EXPECT_EQ(Found(table, kKey, 1), "a@1");
  EXPECT_EQ(Found(table, kKey, 2), "b@16");
  EXPECT_EQ(Found(table, kKey, 16), "b@16");
  EXPECT_EQ(Found(table, kKey, 17), "c@64");
  EXPECT_EQ(Found(table, kKey, 65), "");
  EXPECT_EQ(Found(table, kHead, 1), "");
  table.Set(kKey, 2048, {"d", 1});
  EXPECT_EQ(Found(table, kKey, 100), "");
  EXPECT_EQ(Found(table, kKey, 1000), "d@2048");
  EXPECT_EQ(Found(table, kKey, 100000), "d@2048");  // many rows are alike
  EXPECT_TRUE(table.Has(kKey, 64));
  table.Remove(kKey, 64);
  EXPECT_FALSE(table.Has(kKey, 64));
}

TEST_F(GemmTableTest, ReadsWhatItWrote) {
  GemmTable table;
  for (const std::int64_t rows : {1, 2, 4, 8, 16}) table.Set(kKey, rows, {"skinny", 8.25});
  for (const std::int64_t rows : {32, 48, 80}) table.Set(kKey, rows, {"tokens", 10.5});
  table.Set(kHead, 1, {"cublaslt/0:66.1", 250});
  const std::string path = Path("made/here/table.json");
  ASSERT_TRUE(table.Write(path, kDevice).ok());
  GemmTable read;
  ASSERT_TRUE(read.Read(path, kDevice).ok());
  EXPECT_EQ(read.size(), table.size());
  EXPECT_EQ(Found(read, kKey, 3), "skinny@4");
  EXPECT_EQ(Found(read, kKey, 40), "tokens@48");
  EXPECT_FALSE(read.Has(kKey, 64));
  EXPECT_EQ(Found(read, kHead, 1), "cublaslt/0:66.1@1");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_ / "made/here"), {}), 1);  // nothing else

  GemmTable later;  // a later file's choices replace an earlier one's
  later.Set(kKey, 4, {"tokens", 1});
  ASSERT_TRUE(later.Write(path, kDevice).ok());
  ASSERT_TRUE(read.Read(path, kDevice).ok());
  EXPECT_EQ(Found(read, kKey, 3), "tokens@4");
  EXPECT_EQ(Found(read, kKey, 8), "skinny@8");
}

TEST_F(GemmTableTest, RefusesWhatIsNoTable) {
  GemmTable table;
  EXPECT_EQ(table.Read(Path("nowhere"), kDevice).error().kind, ErrorKind::kNotFound);
  const std::string head = R"({"format": "quire-gemm-table-1", "device": "NVIDIA H200", )";
  const std::string product =
      R"({"n": 8, "k": 8, "dtype": "bfloat16", "out": "bfloat16", "bias": false, "rows": )";
  const std::string broken[] = {
      "",
      "{",
      "[]",
      "{}",
      R"({"format": "quire-gemm-table-0", "device": "NVIDIA H200", "products": []})",
      R"({"format": "quire-gemm-table-1", "device": "NVIDIA H100", "products": []})",
      head + R"("products": 1})",
      head + R"("products": [1]})",
      head + R"("products": [{"n": 8}]})",
      head + R"("products": [)" + product + R"(1}]})",
      head + R"("products": [)" + product + R"([1]}]})",
      head + R"("products": [)" + product + R"([[1, 1, "skinny", "fast"]]}]})",
      head + R"("products": [)" + product + R"([[3, 4, "skinny", 1]]}]})",
      head + R"("products": [)" + product + R"([[1, 4611686018427387904, "skinny", 1]]}]})",
  };
  for (const std::string& text : broken) EXPECT_FALSE(table.Read(File(text), kDevice).ok()) << text;
  EXPECT_EQ(table.size(), 0U);
  EXPECT_TRUE(
      table.Read(File(head + R"("products": [)" + product + R"([[1, 4, "s", 1]]}]})"), kDevice)
          .ok());
  EXPECT_EQ(table.size(), 3U);
}

TEST_F(GemmTableTest, NamesItsFiles) {
  EXPECT_EQ(GemmTableFile("NVIDIA H200", 0), "NVIDIA-H200.json");
  EXPECT_EQ(GemmTableFile("NVIDIA/H200", 130001), "NVIDIA-H200-130001.json");
  setenv("XDG_CACHE_HOME", "/cache", 1);
  EXPECT_EQ(GemmCacheFolder(), "/cache/quire/gemm");
  unsetenv("XDG_CACHE_HOME");
  setenv("HOME", "/home/me", 1);
  EXPECT_EQ(GemmCacheFolder(), "/home/me/.cache/quire/gemm");
  unsetenv("HOME");
  EXPECT_EQ(GemmCacheFolder(), "");
}

}  // namespace
}  // namespace quire::cuda
