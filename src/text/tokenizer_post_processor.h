// PostProcessor: the special tokens that tokenizer.json puts around a text's own.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "text/tokenizer_json.h"

namespace quire {

struct PostProcessor {
  std::vector<TokenId> before;
  std::vector<TokenId> after;

  // Of the field post_processor; nothing for null. `exists` tells whether an id is in the
  // vocabulary.
  static Result<PostProcessor> Parse(const std::optional<JsonView>& config,
                                     const std::function<bool(TokenId)>& exists);
};

}  // namespace quire
