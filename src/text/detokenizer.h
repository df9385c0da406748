// Detokenizer: the text of a growing sequence of tokens, a piece at a time.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/ids.h"
#include "text/tokenizer.h"

namespace quire {

// One for each sequence. The pieces of Push and the last one of Finish join to one valid UTF-8 text
// that does not depend on how the tokens were grouped. Half characters are held back until they are whole
// or cannot become so (then U+FFFD).
class Detokenizer {
 public:
  // Continues behind `context` (the prompt): the first token keeps its leading space. An empty context begins a text:
  // the first space that the tokenizer's prefix made is dropped.
  Detokenizer(std::shared_ptr<const Tokenizer> tokenizer, bool skip_special_tokens,
              bool begins_text = false);

  std::string Push(TokenId token);
  std::string Push(std::span<const TokenId> tokens);
  std::string Finish();  // what was held back

 private:
  std::shared_ptr<const Tokenizer> tokenizer_;
  bool skip_special_tokens_;
  bool begins_text_;
  std::string pending_;  // bytes of a character that is not whole yet
};

}  // namespace quire
