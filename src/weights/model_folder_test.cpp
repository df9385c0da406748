#include "weights/model_folder.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

namespace quire {
namespace {

namespace fs = std::filesystem;

// A temporary folder that the Hugging Face variables point into; owns both.
class ModelFolderTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "quire-folder-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    root_ = name;
    unsetenv("HF_HUB_CACHE");
    unsetenv("XDG_CACHE_HOME");
    setenv("HF_HOME", root_.c_str(), 1);
  }
  void TearDown() override {
    unsetenv("HF_HOME");
    unsetenv("HF_HUB_CACHE");
    fs::remove_all(root_);
  }
  void Write(const fs::path& file, const std::string& text) const {
    fs::create_directories((root_ / file).parent_path());
    std::ofstream(root_ / file, std::ios::binary) << text;
  }

  fs::path root_;
};

TEST_F(ModelFolderTest, TakesAPath) {
  const auto found = FindModelFolder(root_.string());
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(*found, root_);
}

TEST_F(ModelFolderTest, FindsTheMainSnapshot) {
  Write("hub/models--org--name/snapshots/abc/config.json", "{}");
  Write("hub/models--org--name/snapshots/def/config.json", "{}");
  Write("hub/models--org--name/refs/main", "abc\n");
  const auto found = FindModelFolder("org/name");
  ASSERT_TRUE(found.ok()) << found.error().message;
  EXPECT_EQ(found->filename(), "abc");
}

TEST_F(ModelFolderTest, TakesAnotherSnapshotWithoutMain) {
  Write("hub/models--org--name/snapshots/def/config.json", "{}");
  Write("hub/models--org--name/refs/main", "../../../etc");
  const auto found = FindModelFolder("org/name");
  ASSERT_TRUE(found.ok()) << found.error().message;
  EXPECT_EQ(found->filename(), "def");
}

TEST_F(ModelFolderTest, TheCacheVariableComesFirst) {
  Write("elsewhere/models--name/snapshots/x/config.json", "{}");
  setenv("HF_HUB_CACHE", (root_ / "elsewhere").c_str(), 1);
  const auto found = FindModelFolder("name");
  ASSERT_TRUE(found.ok()) << found.error().message;
  EXPECT_EQ(found->filename(), "x");
}

TEST_F(ModelFolderTest, SaysWhereItLooked) {
  const auto found = FindModelFolder("org/name");
  ASSERT_FALSE(found.ok());
  EXPECT_EQ(found.error().kind, ErrorKind::kConfig);
  EXPECT_NE(found.error().message.find((root_ / "hub/models--org--name").string()),
            std::string::npos)
      << found.error().message;
  for (const char* name : {"", "a/b/c", "../x/y", "org/..", "/no/such/folder"})
    EXPECT_FALSE(FindModelFolder(name).ok()) << name;
  Write("file", "x");
  EXPECT_FALSE(FindModelFolder((root_ / "file").string()).ok());
}

TEST_F(ModelFolderTest, ReadsJsonObjects) {
  Write("config.json", R"({"a": 1})");
  const auto json = ReadJsonFile(root_ / "config.json");
  ASSERT_TRUE(json.ok());
  EXPECT_EQ((*json)["a"], 1);
  for (const char* text : {"", "[]", "{\"a\":", "{} x", "\xff"}) {
    Write("config.json", text);
    const auto broken = ReadJsonFile(root_ / "config.json");
    ASSERT_FALSE(broken.ok()) << text;
    EXPECT_EQ(broken.error().kind, ErrorKind::kModel);
    EXPECT_EQ(broken.error().message.rfind("config.json: ", 0), 0U) << broken.error().message;
  }
}

TEST_F(ModelFolderTest, NamesTheFileThatCannotBeRead) {
  const auto missing = ReadJsonFile(root_ / "config.json");
  ASSERT_FALSE(missing.ok());
  EXPECT_NE(missing.error().message.find("config.json"), std::string::npos);
  fs::create_symlink("other.json", root_ / "config.json");
  fs::create_symlink("config.json", root_ / "other.json");
  const auto loop = ReadJsonFile(root_ / "config.json");
  ASSERT_FALSE(loop.ok());
  EXPECT_NE(loop.error().message.find("loop"), std::string::npos);
}

TEST_F(ModelFolderTest, JoinsTheEosTokens) {
  Write("config.json", R"({"eos_token_id": 2})");
  Write("generation_config.json", R"({"eos_token_id": [5, 2, 7]})");
  const auto ids = ReadEosTokenIds(root_, 8);
  ASSERT_TRUE(ids.ok()) << ids.error().message;
  EXPECT_EQ(*ids, (std::vector<TokenId>{2, 5, 7}));
  Write("config.json", R"({"eos_token_id": null})");
  fs::remove(root_ / "generation_config.json");
  EXPECT_TRUE(ReadEosTokenIds(root_, 8)->empty());
}

TEST_F(ModelFolderTest, RefusesEosTokensOutsideTheVocabulary) {
  Write("config.json", "{}");
  for (const char* value : {"8", "-1", "[2, 8]", "2.0", "\"2\"", "true", "[[1]]"}) {
    Write("generation_config.json", std::string(R"({"eos_token_id": )") + value + "}");
    const auto ids = ReadEosTokenIds(root_, 8);
    ASSERT_FALSE(ids.ok()) << value;
    EXPECT_NE(ids.error().message.find("generation_config.json: eos_token_id"), std::string::npos);
  }
}

}  // namespace
}  // namespace quire
