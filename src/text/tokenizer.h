// Tokenizer: text to token ids and back, as the Hugging Face `tokenizers` library does it for a
// tokenizer.json. Immutable and thread-safe once loaded.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"

namespace quire {

class TokenDecoder;

// Owns everything that it read from the folder.
class Tokenizer {
 public:
  // Reads tokenizer.json and, where they are, tokenizer_config.json and special_tokens_map.json.
  // Byte-level BPE and sentencepiece-style BPE with byte fallback; anything else in it is a kModel
  // error that names the file and the field.
  static Result<std::shared_ptr<const Tokenizer>> Load(const std::filesystem::path& folder);
  ~Tokenizer();

  // Ids of valid UTF-8 text. Added tokens in the text are recognised, as the library does. With
  // `add_special_tokens` the post-processor's (BOS, …) are put around it. Time is O(n log n) at
  // worst, stack O(1).
  std::vector<TokenId> Encode(std::string_view text, bool add_special_tokens) const;
  // Text of the ids, always valid UTF-8; ids outside of the vocabulary give nothing.
  std::string Decode(std::span<const TokenId> ids, bool skip_special_tokens) const;

  // The bytes that a token adds in the middle of a text: "▁the" is " the", "<0xE2>" is one byte, a
  // special token its content. Empty for ids that do not exist.
  std::string TokenBytes(TokenId id) const;
  std::string_view Piece(TokenId id) const;  // the same, owned by the tokenizer
  // The token as tokenizer.json spells it ("Ġthe", "▁the"); empty for ids that do not exist.
  std::string TokenString(TokenId id) const;
  bool Exists(TokenId id) const;
  bool IsSpecial(TokenId id) const;  // an added token that is marked special
  std::optional<TokenId> IdOf(std::string_view token) const;  // exact, in tokenizer.json's spelling

  std::int64_t vocab_size() const;  // one more than the greatest id
  const TokenDecoder& decoder() const;

  // bos_token, eos_token, unk_token, pad_token, … as tokenizer_config.json names them.
  const std::map<std::string, std::string>& special_tokens() const;
  std::optional<TokenId> bos_id() const;
  // The chat template of the folder: chat_template.jinja, or tokenizer_config.json's chat_template
  // (of a list the one named "default"); nothing where there is none.
  const std::optional<std::string>& chat_template() const;

 private:
  class Impl;
  explicit Tokenizer(std::unique_ptr<const Impl> impl);
  std::unique_ptr<const Impl> impl_;
};

}  // namespace quire
