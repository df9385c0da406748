#include <utility>

#include "bench/prompt_codec.h"
#include "text/tokenizer.h"

namespace quire {
namespace {

// Owns a share of the tokenizer.
class FolderPromptCodec final : public PromptCodec {
 public:
  explicit FolderPromptCodec(std::shared_ptr<const Tokenizer> tokenizer)
      : tokenizer_(std::move(tokenizer)) {}

  Result<std::vector<TokenId>> Encode(std::string_view text) override {
    return tokenizer_->Encode(text, false);
  }
  Result<std::string> Decode(std::span<const TokenId> ids) override {
    return tokenizer_->Decode(ids, false);
  }
  std::int64_t vocab_size() const override { return tokenizer_->vocab_size(); }
  // Ids that do not exist (gaps of the vocabulary) are as little to be drawn.
  bool IsSpecial(TokenId id) const override {
    return tokenizer_->IsSpecial(id) || !tokenizer_->Exists(id);
  }

 private:
  std::shared_ptr<const Tokenizer> tokenizer_;
};

}  // namespace

Result<std::unique_ptr<PromptCodec>> LocalPromptCodec(const std::string& folder) {
  auto tokenizer = Tokenizer::Load(folder);
  if (!tokenizer) return tokenizer.error();
  return std::unique_ptr<PromptCodec>(std::make_unique<FolderPromptCodec>(std::move(*tokenizer)));
}

}  // namespace quire
