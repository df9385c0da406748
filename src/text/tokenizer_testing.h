// What the tests of the tokenizer share: folders with changed files, and the shared data.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <string>

#include "base/json.h"
#include "text/tokenizer.h"

namespace quire {

inline std::filesystem::path TestTokenizers() {
  return std::filesystem::path(QUIRE_SOURCE_DIR) / "tests/data/tokenizers";
}

inline std::string ReadTestFile(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.good()) << path;
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// Owns a folder that is deleted at the end.
class TestFolder {
 public:
  TestFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "quire_tokenizer_XXXXXX").string();
    EXPECT_NE(mkdtemp(name.data()), nullptr);
    path_ = name;
  }
  ~TestFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TestFolder(const TestFolder&) = delete;
  TestFolder& operator=(const TestFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  void Write(const std::string& name, const std::string& text) const {
    std::ofstream(path_ / name, std::ios::binary) << text;
  }

 private:
  std::filesystem::path path_;
};

inline Json TestTokenizerJson(const std::string& folder) {
  return Json::parse(ReadTestFile(TestTokenizers() / folder / "tokenizer.json"));
}

// Loads the tokenizer.json; the folder has nothing else.
inline Result<std::shared_ptr<const Tokenizer>> LoadTestTokenizer(const std::string& text) {
  const TestFolder folder;
  folder.Write("tokenizer.json", text);
  return Tokenizer::Load(folder.path());
}

// The folder of the shared data that DATA names, where it is there.
inline std::optional<std::filesystem::path> SharedData() {
  const char* data = std::getenv("DATA");
  if (data == nullptr || !std::filesystem::exists(std::filesystem::path(data) / "tokenizers"))
    return std::nullopt;
  return data;
}

}  // namespace quire
