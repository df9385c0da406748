// What the tests of datasets share: codecs that are easy to foresee, files, and the tokenizers.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bench/dataset.h"
#include "bench/prompt_codec.h"

namespace quire {

// Owns a vocabulary of all bytes and of 100 words " waa", " wab", …, of which each is one token.
class WordCodec final : public PromptCodec {
 public:
  Result<std::vector<TokenId>> Encode(std::string_view text) override {
    ++num_encodes;
    std::vector<TokenId> ids;
    while (!text.empty()) {
      if (text.size() >= 4 && text.substr(0, 2) == " w" && IsDigitLetter(text[2]) &&
          IsDigitLetter(text[3])) {
        ids.push_back(256 + (text[2] - 'a') * 10 + text[3] - 'a');
        text.remove_prefix(4);
      } else {
        ids.push_back(static_cast<unsigned char>(text[0]));
        text.remove_prefix(1);
      }
    }
    return ids;
  }
  Result<std::string> Decode(std::span<const TokenId> ids) override {
    ++num_decodes;
    std::string text;
    for (const TokenId id : ids) {
      if (id < 256) {
        text += static_cast<char>(id);
      } else {
        const int word = id - 256;
        text += {' ', 'w', static_cast<char>('a' + word / 10), static_cast<char>('a' + word % 10)};
      }
    }
    return text;
  }
  std::int64_t vocab_size() const override { return 356; }
  bool IsSpecial(TokenId id) const override { return id == 300; }

  int num_encodes = 0;
  int num_decodes = 0;

 private:
  static bool IsDigitLetter(char c) { return c >= 'a' && c <= 'j'; }
};

// Owns no words: the letters a to z, and all pairs of them as one token too, so that what is drawn
// at random is encoded as something shorter. A stubborn one never has an odd number of tokens.
class PairCodec final : public PromptCodec {
 public:
  explicit PairCodec(bool stubborn = false) : stubborn_(stubborn) {}

  Result<std::vector<TokenId>> Encode(std::string_view text) override {
    std::vector<TokenId> ids;
    for (std::size_t i = 0; i < text.size(); i += 2) {
      const int first = Letter(text[i]);
      ids.push_back(i + 1 < text.size() ? 26 + first * 26 + Letter(text[i + 1]) : first);
    }
    if (stubborn_ && ids.size() % 2 == 1) ids.push_back(0);
    return ids;
  }
  Result<std::string> Decode(std::span<const TokenId> ids) override {
    std::string text;
    for (const TokenId id : ids) {
      if (id >= 26) text += static_cast<char>('a' + (id - 26) / 26);
      text += static_cast<char>('a' + (id < 26 ? id : (id - 26) % 26));
    }
    return text;
  }
  std::int64_t vocab_size() const override { return 26 + 26 * 26; }
  bool IsSpecial(TokenId) const override { return false; }

 private:
  static int Letter(char c) { return c >= 'a' && c <= 'z' ? c - 'a' : 0; }
  bool stubborn_;
};

inline std::string BenchTestData(const std::string& name) {
  return (std::filesystem::path(QUIRE_SOURCE_DIR) / "tests/data/bench" / name).string();
}

inline std::string DemoModelFolder() {
  return (std::filesystem::path(QUIRE_SOURCE_DIR) / "share/quire/models/demo").string();
}

inline std::unique_ptr<PromptCodec> FolderCodec(const std::string& folder) {
  auto codec = LocalPromptCodec(folder);
  EXPECT_TRUE(codec.ok()) << (codec.ok() ? "" : codec.error().message);
  return codec.ok() ? std::move(*codec) : nullptr;
}

// Of the shared data that DATA names; nothing where it is not there.
inline std::optional<std::string> SharedBenchFile(const std::string& name) {
  const char* data = std::getenv("DATA");
  if (data == nullptr) return std::nullopt;
  const auto path = std::filesystem::path(data) / name;
  if (!std::filesystem::exists(path)) return std::nullopt;
  return path.string();
}

// Owns a file that is deleted at the end.
class DatasetTestFile {
 public:
  explicit DatasetTestFile(const std::string& text) {
    std::string name = (std::filesystem::temp_directory_path() / "quire_bench_XXXXXX").string();
    const int fd = mkstemp(name.data());
    EXPECT_GE(fd, 0);
    if (fd >= 0) close(fd);
    path_ = name;
    std::ofstream(path_, std::ios::binary) << text;
  }
  ~DatasetTestFile() {
    std::error_code ignored;
    std::filesystem::remove(path_, ignored);
  }
  DatasetTestFile(const DatasetTestFile&) = delete;
  DatasetTestFile& operator=(const DatasetTestFile&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

inline DatasetOptions DatasetNamed(const std::string& name, const std::string& path = "") {
  DatasetOptions options;
  options.name = name;
  options.path = path;
  return options;
}

inline BenchWorkload WorkloadOf(const DatasetOptions& options, PromptCodec* codec) {
  auto workload = MakeWorkload(options, codec);
  EXPECT_TRUE(workload.ok()) << (workload.ok() ? "" : workload.error().message);
  return workload.ok() ? std::move(*workload) : BenchWorkload();
}

// The message of the error, which must be one of flags or files; empty where there is none.
inline std::string FaultOf(const DatasetOptions& options, PromptCodec* codec) {
  const auto workload = MakeWorkload(options, codec);
  if (workload.ok()) return "";
  EXPECT_EQ(workload.error().kind, ErrorKind::kConfig);
  return workload.error().message;
}

inline std::size_t EncodedSize(PromptCodec& codec, const std::string& text) {
  const auto ids = codec.Encode(text);
  EXPECT_TRUE(ids.ok());
  return ids.ok() ? ids->size() : 0;
}

// Every text is encoded to as many tokens as its turn says.
inline void ExpectExactLengths(const BenchWorkload& workload, PromptCodec& codec) {
  for (const BenchConversation& conversation : workload.conversations) {
    for (const BenchTurn& turn : conversation.turns) {
      ASSERT_EQ(EncodedSize(codec, turn.text), static_cast<std::size_t>(turn.input_tokens))
          << turn.text.substr(0, 200);
    }
  }
}

}  // namespace quire
