// Detokenizer: the text of a growing sequence of tokens, a piece at a time.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/ids.h"
#include "text/tokenizer.h"

namespace quire {

// One for each sequence; owns the bytes of a character that is not whole yet. The pieces of Push
// and the last one of Finish join to one valid UTF-8 text that does not depend on how the tokens
// were grouped. Half characters are held back until they are whole or cannot become so (then
// U+FFFD, one for each maximal subpart).
class Detokenizer {
 public:
  // Continues behind a prompt: the first token keeps its leading space. With `begins_text` the
  // tokens begin a text: the space that the tokenizer's prefix made is dropped.
  Detokenizer(std::shared_ptr<const Tokenizer> tokenizer, bool skip_special_tokens,
              bool begins_text = false);

  std::string Push(TokenId token);
  std::string Push(std::span<const TokenId> tokens);
  std::string Finish();  // what was held back

 private:
  void Append(TokenId token);
  std::string_view DropTextStart(std::string_view bytes);
  std::string TakeWhole();

  std::shared_ptr<const Tokenizer> tokenizer_;
  bool skip_special_tokens_;
  bool is_first_;               // the next token begins a text
  std::size_t start_left_ = 0;  // how many characters may still be taken off its beginning
  std::string pending_;
};

}  // namespace quire
