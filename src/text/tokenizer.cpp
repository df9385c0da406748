#include "text/tokenizer.h"

#include <algorithm>
#include <utility>

#include "base/utf8.h"
#include "text/bpe.h"
#include "text/detokenizer.h"
#include "text/pre_tokenizer.h"
#include "text/tokenizer_added.h"
#include "text/tokenizer_config.h"
#include "text/tokenizer_decoder.h"
#include "text/tokenizer_json.h"
#include "text/tokenizer_normalizer.h"
#include "text/tokenizer_post_processor.h"

namespace quire {
namespace {

constexpr char kFileName[] = "tokenizer.json";
constexpr std::size_t kMaxFileBytes = std::size_t{512} << 20;

Result<Json> ReadTokenizerJson(const std::filesystem::path& folder) {
  const Result<std::optional<std::string>> text = ReadFolderFile(folder, kFileName, kMaxFileBytes);
  if (!text) return text.error();
  if (!*text) return ModelFault(std::string(kFileName) + ": there is none in the model's folder");
  JsonLimits limits;
  limits.allow_duplicate_keys = true;
  Result<Json> parsed = ParseJson(**text, limits);
  if (!parsed) return ModelFault(std::string(kFileName) + ": " + parsed.error().message);
  if (!parsed->is_object()) return ModelFault(std::string(kFileName) + ": must be an object");
  return parsed;
}

Result<AddedTokens> ParseAddedTokens(const JsonView& root) {
  AddedTokens added;
  if (!root.Find("added_tokens")) return added;
  const Result<JsonView> field = root.Array("added_tokens");
  if (!field) return field.error();
  for (std::size_t i = 0; i < field->json().size(); ++i) {
    const JsonView config = field->At(i);
    const Result<JsonView> id_field = config.Require("id");
    if (!id_field) return id_field.error();
    const Result<TokenId> id = id_field->AsTokenId();
    if (!id) return id.error();
    Result<AddedToken> token = AddedToken::Parse(config, *id);
    if (!token) return token.error();
    QUIRE_RETURN_IF_ERROR(added.Add(*std::move(token), config));
  }
  return added;
}

// Whether the model's vocabulary has the token with the same id, or neither of the two.
bool Agrees(const AddedToken& token, const BpeVocab& vocab) {
  const TokenId id = vocab.Find(token.content);
  return id == token.id || (id == BpeVocab::kNone && !vocab.TokenOf(token.id));
}

}  // namespace

// Owns the parts of tokenizer.json and a table of what every token adds to a text.
class Tokenizer::Impl {
 public:
  static Result<std::unique_ptr<const Impl>> Load(const std::filesystem::path& folder);

  void EncodeText(std::string_view text, bool starts_input, BpeModel::Scratch& scratch,
                  std::vector<TokenId>& ids) const;
  std::optional<std::string_view> TokenOf(TokenId id) const;
  TokenId Size() const;

  AddedTokens added;
  BpeModel model;
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  PostProcessor post_processor;
  TokenDecoder decoder;
  TokenizerConfig config;
  std::string piece_bytes;
  std::vector<std::size_t> piece_begin;  // [Size() + 1]
  std::vector<bool> is_special;          // [Size()]

 private:
  Impl(AddedTokens added_tokens, BpeModel bpe_model)
      : added(std::move(added_tokens)), model(std::move(bpe_model)) {}
  Status ParseParts(const JsonView& root);
  void AddTokensOfConfig(const JsonView& root);
  void BuildTables();
};

Result<std::unique_ptr<const Tokenizer::Impl>> Tokenizer::Impl::Load(
    const std::filesystem::path& folder) {
  const Result<Json> json = ReadTokenizerJson(folder);
  if (!json) return json.error();
  const JsonView root(*json, kFileName);
  Result<TokenizerConfig> config = TokenizerConfig::Load(folder);
  if (!config) return config.error();
  Result<AddedTokens> added = ParseAddedTokens(root);
  if (!added) return added.error();
  const Result<JsonView> model_field = root.Require("model");
  if (!model_field) return model_field.error();
  Result<BpeModel> model = BpeModel::Parse(*model_field, *added);
  if (!model) return model.error();
  for (const AddedToken& token : added->tokens())
    if (!Agrees(token, model->vocab()))
      return root.Find("added_tokens")
          ->Fault("gives " + Quoted(token.content) + " the id " + std::to_string(token.id) +
                  ", which model.vocab contradicts");
  std::unique_ptr<Impl> impl(new Impl(*std::move(added), *std::move(model)));
  impl->config = *std::move(config);
  impl->AddTokensOfConfig(root);
  QUIRE_RETURN_IF_ERROR(impl->ParseParts(root));
  impl->added.BuildMatchers([&](std::string_view text) { return impl->normalizer.Apply(text); });
  impl->BuildTables();
  return std::unique_ptr<const Impl>(std::move(impl));
}

// tokenizer.json is right where tokenizer_config.json says something else about a token.
void Tokenizer::Impl::AddTokensOfConfig(const JsonView& root) {
  for (const AddedToken& token : config.added_tokens)
    if (Agrees(token, model.vocab())) (void)added.Add(token, root);
}

Status Tokenizer::Impl::ParseParts(const JsonView& root) {
  Result<Normalizer> parsed_normalizer = Normalizer::Parse(root.Find("normalizer"));
  if (!parsed_normalizer) return parsed_normalizer.error();
  normalizer = *std::move(parsed_normalizer);
  Result<PreTokenizer> parsed_pre_tokenizer = PreTokenizer::Parse(root.Find("pre_tokenizer"));
  if (!parsed_pre_tokenizer) return parsed_pre_tokenizer.error();
  pre_tokenizer = *std::move(parsed_pre_tokenizer);
  Result<PostProcessor> parsed_post_processor = PostProcessor::Parse(
      root.Find("post_processor"), [&](TokenId id) { return TokenOf(id).has_value(); });
  if (!parsed_post_processor) return parsed_post_processor.error();
  post_processor = *std::move(parsed_post_processor);
  const Result<JsonView> decoder_field = root.Require("decoder");
  if (!decoder_field) return decoder_field.error();
  Result<TokenDecoder> parsed_decoder = TokenDecoder::Parse(*decoder_field);
  if (!parsed_decoder) return parsed_decoder.error();
  decoder = *std::move(parsed_decoder);
  return {};
}

void Tokenizer::Impl::BuildTables() {
  const TokenId size = Size();
  piece_begin.reserve(static_cast<std::size_t>(size) + 1);
  is_special.resize(static_cast<std::size_t>(size));
  for (TokenId id = 0; id < size; ++id) {
    piece_begin.push_back(piece_bytes.size());
    if (const std::optional<std::string_view> token = TokenOf(id))
      piece_bytes += decoder.BytesOf(*token, false);
  }
  piece_begin.push_back(piece_bytes.size());
  for (const AddedToken& token : added.tokens())
    is_special[static_cast<std::size_t>(token.id)] = token.special;
}

TokenId Tokenizer::Impl::Size() const {
  TokenId size = model.vocab().size();
  for (const AddedToken& token : added.tokens()) size = std::max(size, token.id + 1);
  return size;
}

std::optional<std::string_view> Tokenizer::Impl::TokenOf(TokenId id) const {
  if (const AddedToken* token = added.FindId(id)) return token->content;
  return model.vocab().TokenOf(id);
}

void Tokenizer::Impl::EncodeText(std::string_view text, bool starts_input,
                                 BpeModel::Scratch& scratch, std::vector<TokenId>& ids) const {
  const std::string normalized = normalizer.Apply(text);
  for (const AddedTokenMatcher::Segment& segment : added.normalized().Split(normalized)) {
    if (segment.token != nullptr) {
      ids.push_back(segment.token->id);
      continue;
    }
    const PreTokenized cut =
        pre_tokenizer.Split(normalized.substr(segment.begin, segment.end - segment.begin),
                            starts_input && segment.begin == 0);
    for (const PreTokenized::Piece& piece : cut.pieces)
      model.Tokenize(cut.TextOf(piece), scratch, ids);
  }
}

Tokenizer::Tokenizer(std::unique_ptr<const Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::~Tokenizer() = default;

Result<std::shared_ptr<const Tokenizer>> Tokenizer::Load(const std::filesystem::path& folder) {
  Result<std::unique_ptr<const Impl>> impl = Impl::Load(folder);
  if (!impl) return impl.error();
  return std::shared_ptr<const Tokenizer>(new Tokenizer(*std::move(impl)));
}

std::vector<TokenId> Tokenizer::Encode(std::string_view text, bool add_special_tokens) const {
  std::string repaired;
  if (!IsValidUtf8(text)) {
    repaired = ToValidUtf8(text);
    text = repaired;
  }
  std::vector<TokenId> ids;
  ids.reserve(text.size() / 3 + 8);
  const PostProcessor& special = impl_->post_processor;
  if (add_special_tokens) ids = special.before;
  BpeModel::Scratch scratch;
  for (const AddedTokenMatcher::Segment& segment : impl_->added.raw().Split(text)) {
    if (segment.token != nullptr) {
      ids.push_back(segment.token->id);
    } else {
      impl_->EncodeText(text.substr(segment.begin, segment.end - segment.begin), segment.begin == 0,
                        scratch, ids);
    }
  }
  if (add_special_tokens) ids.insert(ids.end(), special.after.begin(), special.after.end());
  return ids;
}

std::string Tokenizer::Decode(std::span<const TokenId> ids, bool skip_special_tokens) const {
  // The detokenizer does not outlive this call, so it need not own the tokenizer.
  Detokenizer detokenizer(std::shared_ptr<const Tokenizer>(std::shared_ptr<void>(), this),
                          skip_special_tokens, /*begins_text=*/true);
  std::string text = detokenizer.Push(ids);
  return text += detokenizer.Finish();
}

std::string Tokenizer::TokenBytes(TokenId id) const { return std::string(Piece(id)); }

std::string_view Tokenizer::Piece(TokenId id) const {
  if (id < 0 || id >= vocab_size()) return {};
  const auto index = static_cast<std::size_t>(id);
  const std::size_t begin = impl_->piece_begin[index];
  return std::string_view(impl_->piece_bytes).substr(begin, impl_->piece_begin[index + 1] - begin);
}

std::string Tokenizer::TokenString(TokenId id) const {
  return std::string(impl_->TokenOf(id).value_or(""));
}

bool Tokenizer::Exists(TokenId id) const { return impl_->TokenOf(id).has_value(); }

bool Tokenizer::IsSpecial(TokenId id) const {
  return id >= 0 && id < vocab_size() && impl_->is_special[static_cast<std::size_t>(id)];
}

std::optional<TokenId> Tokenizer::IdOf(std::string_view token) const {
  if (const AddedToken* added = impl_->added.FindContent(token)) return added->id;
  const TokenId id = impl_->model.vocab().Find(token);
  if (id == BpeVocab::kNone) return std::nullopt;
  return id;
}

std::int64_t Tokenizer::vocab_size() const { return std::ssize(impl_->is_special); }

const TokenDecoder& Tokenizer::decoder() const { return impl_->decoder; }

const std::map<std::string, std::string>& Tokenizer::special_tokens() const {
  return impl_->config.special_tokens;
}

std::optional<TokenId> Tokenizer::bos_id() const {
  const auto found = special_tokens().find("bos_token");
  if (found == special_tokens().end()) return std::nullopt;
  return IdOf(found->second);
}

const std::optional<std::string>& Tokenizer::chat_template() const {
  return impl_->config.chat_template;
}

}  // namespace quire
