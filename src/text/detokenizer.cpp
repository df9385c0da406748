#include "text/detokenizer.h"

#include <utility>

#include "base/utf8.h"
#include "text/tokenizer_decoder.h"

namespace quire {

Detokenizer::Detokenizer(std::shared_ptr<const Tokenizer> tokenizer, bool skip_special_tokens,
                         bool begins_text)
    : tokenizer_(std::move(tokenizer)),
      skip_special_tokens_(skip_special_tokens),
      is_first_(begins_text),
      start_left_(begins_text ? tokenizer_->decoder().text_start().count : 0) {}

std::string Detokenizer::Push(TokenId token) { return Push(std::span(&token, 1)); }

std::string Detokenizer::Push(std::span<const TokenId> tokens) {
  for (const TokenId token : tokens) Append(token);
  return TakeWhole();
}

std::string Detokenizer::Finish() { return ToValidUtf8(std::exchange(pending_, {})); }

void Detokenizer::Append(TokenId token) {
  if (skip_special_tokens_ && tokenizer_->IsSpecial(token)) return;
  if (!tokenizer_->Exists(token)) return;
  if (!is_first_) {
    pending_ += DropTextStart(tokenizer_->Piece(token));
    return;
  }
  is_first_ = false;
  const std::string first = tokenizer_->decoder().BytesOf(tokenizer_->TokenString(token), true);
  pending_ += DropTextStart(first);
}

std::string_view Detokenizer::DropTextStart(std::string_view bytes) {
  if (start_left_ == 0) return bytes;
  const std::string& character = tokenizer_->decoder().text_start().character;
  for (; start_left_ > 0 && bytes.starts_with(character); --start_left_)
    bytes.remove_prefix(character.size());
  if (!bytes.empty()) start_left_ = 0;
  return bytes;
}

std::string Detokenizer::TakeWhole() {
  const std::size_t tail = IncompleteUtf8Tail(pending_);
  if (tail == pending_.size()) return {};
  std::string whole = ToValidUtf8(std::string_view(pending_).substr(0, pending_.size() - tail));
  pending_.erase(0, pending_.size() - tail);
  return whole;
}

}  // namespace quire
