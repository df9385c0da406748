#include "weights/safetensors.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <cstring>
#include <fstream>

#include "weights/weight_source.h"

namespace quire {
namespace {

namespace fs = std::filesystem;

std::string WithLength(const std::string& header, std::uint64_t length) {
  std::string bytes(8, '\0');
  for (std::size_t i = 0; i < 8; ++i) bytes[i] = static_cast<char>(length >> (8 * i));
  return bytes + header;
}

std::string File(const std::string& header, std::size_t data_bytes) {
  return WithLength(header, header.size()) + std::string(data_bytes, '\1');
}

Result<SafetensorsHeader> Parse(const std::string& file) {
  return ParseSafetensorsHeader(file, file.size(), "model.safetensors");
}

void ExpectRefused(const std::string& file, const std::vector<std::string>& mentions) {
  const auto header = Parse(file);
  ASSERT_FALSE(header.ok()) << file.substr(8);
  EXPECT_EQ(header.error().kind, ErrorKind::kModel);
  EXPECT_NE(header.error().message.find("model.safetensors"), std::string::npos);
  EXPECT_EQ(header.error().message.find('\n'), std::string::npos);
  for (const std::string& word : mentions)
    EXPECT_NE(header.error().message.find(word), std::string::npos)
        << word << " in: " << header.error().message;
}

// Owns a new folder under the temporary one.
class TempFolder {
 public:
  TempFolder() {
    std::string name = (fs::temp_directory_path() / "quire-weights-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) std::abort();
    path_ = name;
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  ~TempFolder() { fs::remove_all(path_); }
  fs::path operator/(const std::string& name) const { return path_ / name; }
  const fs::path& path() const { return path_; }
  void Write(const std::string& name, const std::string& bytes) const {
    std::ofstream(path_ / name, std::ios::binary) << bytes;
  }

 private:
  fs::path path_;
};

std::string OneTensor(const std::string& name, const std::string& dtype, const std::string& shape,
                      std::size_t bytes) {
  return File("{\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape +
                  ",\"data_offsets\":[0," + std::to_string(bytes) + "]}}",
              bytes);
}

TEST(SafetensorsHeaderTest, ReadsTensorsInTheOrderOfTheirData) {
  const auto header = Parse(
      File(R"({"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[],"data_offsets":[4,8]},)"
           R"("a":{"dtype":"BF16","shape":[1,2],"data_offsets":[0,4]},)"
           R"("none":{"dtype":"I64","shape":[0,7],"data_offsets":[4,4]}}   )",
           8));
  ASSERT_TRUE(header.ok()) << header.error().message;
  ASSERT_EQ(header->tensors.size(), 3U);
  EXPECT_EQ(header->tensors[0].name, "a");
  EXPECT_EQ(header->tensors[0].shape, (std::vector<std::int64_t>{1, 2}));
  EXPECT_EQ(header->tensors[1].name, "none");
  EXPECT_EQ(header->tensors[2].name, "b");
  EXPECT_EQ(header->tensors[2].begin, 4U);
}

TEST(SafetensorsHeaderTest, RefusesBrokenLengths) {
  ExpectRefused("", {"header"});
  ExpectRefused("1234567", {"header", "7 bytes"});
  ExpectRefused(WithLength("{}", 3), {"header"});
  ExpectRefused(WithLength("{}", 100'000'001), {"header"});
  ExpectRefused(WithLength("{}", ~std::uint64_t{0}), {"header"});
  ExpectRefused(WithLength("", 0), {"header"});
}

TEST(SafetensorsHeaderTest, RefusesWhatIsNoHeader) {
  ExpectRefused(File("{\"a\":", 0), {"header"});
  ExpectRefused(File("[]", 0), {"header"});
  ExpectRefused(File("{\"\xff\":{}}", 0), {"header"});
  ExpectRefused(File(std::string(5000, '['), 0), {"header"});
  ExpectRefused(File("{}", 3), {"header", "3 bytes"});
  ExpectRefused(File(R"({"__metadata__":{"a":1}})", 0), {"__metadata__"});
  ExpectRefused(File(R"({"__metadata__":[]})", 0), {"__metadata__"});
}

TEST(SafetensorsHeaderTest, RefusesBrokenTensors) {
  const auto refuse = [](const std::string& facts, const std::string& word) {
    ExpectRefused(File("{\"w.x\":" + facts + "}", 8), {"w.x", word});
  };
  refuse("[]", "object");
  refuse(R"({"dtype":"F32","shape":[2]})", "data_offsets");
  refuse(R"({"dtype":"F32","shape":[2],"data_offsets":[0,8],"more":1})", "nothing else");
  refuse(R"({"dtype":"F7","shape":[2],"data_offsets":[0,8]})", "F7");
  refuse(R"({"dtype":7,"shape":[2],"data_offsets":[0,8]})", "dtype");
  refuse(R"({"dtype":"F32","shape":2,"data_offsets":[0,8]})", "shape");
  refuse(R"({"dtype":"F32","shape":[-2],"data_offsets":[0,8]})", "shape");
  refuse(R"({"dtype":"F32","shape":[2.0],"data_offsets":[0,8]})", "shape");
  refuse(R"({"dtype":"F32","shape":[9223372036854775808,0],"data_offsets":[0,0]})", "shape");
  refuse(R"({"dtype":"BF16","shape":[8589934592,2147483648],"data_offsets":[0,0]})", "64 bits");
  refuse(R"({"dtype":"F32","shape":[3],"data_offsets":[0,8]})", "needs 12");
  refuse(R"({"dtype":"F32","shape":[2],"data_offsets":[8,0]})", "data_offsets");
  refuse(R"({"dtype":"F32","shape":[2],"data_offsets":[0,8,8]})", "data_offsets");
  refuse(R"({"dtype":"F32","shape":[2],"data_offsets":[-8,0]})", "data_offsets");
  refuse(R"({"dtype":"F32","shape":[4],"data_offsets":[0,16]})", "cut off");
  refuse(R"({"dtype":"F32","shape":[1],"data_offsets":[4,8]})", "gap");
}

TEST(SafetensorsHeaderTest, RefusesTensorsThatDoNotFillTheData) {
  const std::string a = R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)";
  ExpectRefused(File(a + R"("b":{"dtype":"U8","shape":[5],"data_offsets":[3,8]}})", 8),
                {"b", "overlaps"});
  ExpectRefused(File(a + R"("b":{"dtype":"U8","shape":[3],"data_offsets":[5,8]}})", 8),
                {"b", "gap"});
  ExpectRefused(File(a + R"("b":{"dtype":"U8","shape":[3],"data_offsets":[4,7]}})", 8),
                {"1 bytes"});
  ExpectRefused(File(a + R"("a":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}})", 8), {"header"});
}

TEST(SafetensorsStoreTest, GivesTensorsAndRemembersWhatWasUsed) {
  const TempFolder folder;
  std::string file = File(R"({"a":{"dtype":"F32","shape":[1,2],"data_offsets":[1,9]},)"
                          R"("odd":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                          R"("m.b":{"dtype":"BF16","shape":[2],"data_offsets":[9,13]}})",
                          13);
  const float values[2] = {1.5F, -2.0F};
  std::memcpy(file.data() + file.size() - 12, values, sizeof(values));
  folder.Write("model.safetensors", file);
  const auto store = OpenSafetensors(folder.path());
  ASSERT_TRUE(store.ok()) << store.error().message;
  EXPECT_EQ((*store)->num_bytes(), 13U);
  const Tensor a = (*store)->Get("a", {1, 2});
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(a.raw()) % sizeof(float),
            0U);  // it lies askew in the file
  EXPECT_EQ(a.data<float>()[0], 1.5F);
  EXPECT_EQ(a.data<float>()[1], -2.0F);
  EXPECT_EQ((*store)->Get("a", {1, 2}).raw(), a.raw());
  const WeightSource scope = WeightSource(*store) / "m";
  EXPECT_TRUE(scope.Has("b"));
  EXPECT_FALSE(scope.Has("a"));
  EXPECT_EQ(scope.Get("b", {2}).dtype(), DType::kBF16);
  EXPECT_EQ((*store)->Unused(), (std::vector<std::string>{"odd"}));
}

std::string MessageOf(const TensorStore& store, const std::string& name,
                      std::initializer_list<std::int64_t> shape) {
  try {
    static_cast<void>(store.Get(name, shape));
  } catch (const LoadError& error) {
    return error.what();
  }
  return "";
}

TEST(SafetensorsStoreTest, NamesFileAndTensorOfWhatDoesNotFit) {
  const TempFolder folder;
  folder.Write("model.safetensors", OneTensor("w", "F64", "[2]", 16));
  const auto store = OpenSafetensors(folder.path());
  ASSERT_TRUE(store.ok());
  EXPECT_EQ(MessageOf(**store, "v", {2}), "model.safetensors: tensor v is missing");
  EXPECT_EQ(MessageOf(**store, "w", {3, 1}),
            "model.safetensors: tensor w has the shape [2], by config.json it must be [3, 1]");
  EXPECT_EQ(MessageOf(**store, "w", {2}),
            "model.safetensors: tensor w has the dtype F64, only F32, BF16 and F16 are supported");
}

void ExpectFolderRefused(const TempFolder& folder, const std::vector<std::string>& mentions) {
  const auto store = OpenSafetensors(folder.path());
  ASSERT_FALSE(store.ok());
  EXPECT_EQ(store.error().kind, ErrorKind::kModel);
  for (const std::string& word : mentions)
    EXPECT_NE(store.error().message.find(word), std::string::npos)
        << word << " in: " << store.error().message;
}

TEST(SafetensorsStoreTest, ReadsShards) {
  const TempFolder folder;
  folder.Write("one.safetensors", OneTensor("a", "F32", "[1]", 4));
  folder.Write("two.safetensors", OneTensor("b", "F16", "[1,1]", 2));
  folder.Write("model.safetensors.index.json",
               R"({"metadata":{},"weight_map":{"a":"one.safetensors","b":"two.safetensors"}})");
  const auto store = OpenSafetensors(folder.path());
  ASSERT_TRUE(store.ok()) << store.error().message;
  EXPECT_TRUE((*store)->Has("a"));
  EXPECT_EQ((*store)->Get("b", {1, 1}).dtype(), DType::kF16);
  EXPECT_EQ((*store)->num_bytes(), 6U);
}

TEST(SafetensorsStoreTest, RefusesBrokenIndexes) {
  const TempFolder folder;
  const std::string index = "model.safetensors.index.json";
  folder.Write("one.safetensors", OneTensor("a", "F32", "[1]", 4));
  folder.Write("copy.safetensors", OneTensor("a", "F32", "[1]", 4));
  const auto refuse = [&](const std::string& map, const std::vector<std::string>& mentions) {
    folder.Write(index, map);
    ExpectFolderRefused(folder, mentions);
  };
  refuse("{", {index});
  refuse("[]", {index});
  refuse("{}", {index, "weight_map"});
  refuse(R"({"weight_map":{"a":7}})", {index, "tensor a"});
  refuse(R"({"weight_map":{"a":"../one.safetensors"}})", {index, ".."});
  refuse(R"({"weight_map":{"a":"/etc/passwd"}})", {index, "/etc/passwd"});
  refuse(R"({"weight_map":{"a":".."}})", {index, ".."});
  refuse(R"({"weight_map":{"a":"x\u0000y"}})", {index});
  refuse(R"({"weight_map":{"a":"gone.safetensors"}})", {index, "gone.safetensors"});
  refuse(R"({"weight_map":{"b":"one.safetensors"}})", {index, "tensor b", "one.safetensors"});
  refuse(R"({"weight_map":{"a":"one.safetensors","b":"copy.safetensors"}})",
         {"tensor a", "one.safetensors", "copy.safetensors"});
}

TEST(SafetensorsStoreTest, RefusesWhatIsNoRegularFile) {
  const TempFolder folder;
  ExpectFolderRefused(folder, {"model.safetensors"});
  fs::create_directory(folder / "model.safetensors");
  ExpectFolderRefused(folder, {"model.safetensors", "regular file"});
  fs::remove(folder / "model.safetensors");
  ASSERT_EQ(mkfifo((folder / "model.safetensors").c_str(), 0600), 0);
  ExpectFolderRefused(folder, {"model.safetensors", "regular file"});
  fs::remove(folder / "model.safetensors");
  fs::create_symlink("model.safetensors", folder / "model.safetensors");
  ExpectFolderRefused(folder, {"model.safetensors", "loop"});
  fs::remove(folder / "model.safetensors");
  folder.Write("model.safetensors", "");
  ExpectFolderRefused(folder, {"model.safetensors"});
}

TEST(DummyStoreTest, IsAFunctionOfSeedAndName) {
  const auto store = MakeDummyStore(7, DType::kF32);
  const auto same = MakeDummyStore(7, DType::kF32);
  const auto other = MakeDummyStore(8, DType::kF32);
  const Tensor w = store->Get("w.weight", {64, 256});
  static_cast<void>(same->Get("another", {3, 5}));
  EXPECT_EQ(std::memcmp(w.raw(), same->Get("w.weight", {64, 256}).raw(), w.num_bytes()), 0);
  EXPECT_NE(std::memcmp(w.raw(), other->Get("w.weight", {64, 256}).raw(), w.num_bytes()), 0);
  EXPECT_NE(std::memcmp(w.raw(), store->Get("v.weight", {64, 256}).raw(), w.num_bytes()), 0);
  EXPECT_EQ(w.raw(), store->Get("w.weight", {64, 256}).raw());
  double sum = 0.0, squares = 0.0;
  for (std::int64_t i = 0; i < w.num_elements(); ++i) {
    sum += w.data<float>()[i];
    squares += static_cast<double>(w.data<float>()[i]) * w.data<float>()[i];
  }
  EXPECT_NEAR(sum / static_cast<double>(w.num_elements()), 0.0, 0.002);
  EXPECT_NEAR(squares / static_cast<double>(w.num_elements()), 1.0 / 256.0, 2e-4);
}

TEST(DummyStoreTest, NormsAreOnesAndBiasesZero) {
  const auto store = MakeDummyStore(1, DType::kBF16);
  const Tensor norm = store->Get("model.q_norm.weight", {3});
  const Tensor bias = store->Get("q_proj.bias", {3});
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(BF16ToFloat(norm.data<std::uint16_t>()[i]), 1.0F);
    EXPECT_EQ(bias.data<std::uint16_t>()[i], 0);
  }
}

}  // namespace
}  // namespace quire
