// TokenizerConfig: what a model folder says about its tokenizer outside of tokenizer.json.
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "text/tokenizer_added.h"

namespace quire {

// The bytes of a file of the folder, nothing where there is none. A kModel error where it cannot be
// read.
Result<std::optional<std::string>> ReadFolderFile(const std::filesystem::path& folder,
                                                  const std::string& name, std::size_t max_bytes);

struct TokenizerConfig {
  std::map<std::string, std::string> special_tokens;  // bos_token, eos_token, …
  std::optional<std::string> chat_template;
  std::vector<AddedToken> added_tokens;

  // Reads tokenizer_config.json, special_tokens_map.json and chat_template.jinja, each where it is.
  static Result<TokenizerConfig> Load(const std::filesystem::path& folder);
};

}  // namespace quire
