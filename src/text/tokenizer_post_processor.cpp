#include "text/tokenizer_post_processor.h"

#include <string>
#include <utility>

namespace quire {
namespace {

constexpr int kMaxNesting = 16;  // of sequences in sequences

using Exists = std::function<bool(TokenId)>;

Result<TokenId> ParseId(const JsonView& field, const Exists& exists) {
  const Result<TokenId> id = field.AsTokenId();
  if (!id) return id.error();
  if (!exists(*id)) return field.Fault("is " + std::to_string(*id) + ", which no token has");
  return *id;
}

// The ids of a special token that a template names.
Result<std::vector<TokenId>> ParseSpecialToken(const JsonView& config, const JsonView& piece,
                                               const Exists& exists) {
  const Result<std::string> name = piece.String("id");
  if (!name) return name.error();
  const Result<JsonView> table = config.Require("special_tokens");
  if (!table) return table.error();
  const std::optional<JsonView> token = table->Find(*name);
  if (!token) return table->Fault("lacks " + Quoted(*name) + ", which the template names");
  const Result<JsonView> field = token->Array("ids");
  if (!field) return field.error();
  std::vector<TokenId> ids;
  for (std::size_t i = 0; i < field->json().size(); ++i) {
    const Result<TokenId> id = ParseId(field->At(i), exists);
    if (!id) return id.error();
    ids.push_back(*id);
  }
  return ids;
}

Result<PostProcessor> ParseTemplate(const JsonView& config, const Exists& exists) {
  const Result<JsonView> pieces = config.Array("single");
  if (!pieces) return pieces.error();
  PostProcessor parsed;
  bool seen_text = false;
  for (std::size_t i = 0; i < pieces->json().size(); ++i) {
    const JsonView piece = pieces->At(i);
    if (const std::optional<JsonView> text = piece.Find("Sequence")) {
      const Result<std::string> id = text->String("id");
      if (!id) return id.error();
      if (*id != "A" || seen_text) return text->Fault("must be A, and once");
      seen_text = true;
      continue;
    }
    const Result<JsonView> special = piece.Require("SpecialToken");
    if (!special) return special.error();
    const Result<std::vector<TokenId>> ids = ParseSpecialToken(config, *special, exists);
    if (!ids) return ids.error();
    std::vector<TokenId>& side = seen_text ? parsed.after : parsed.before;
    side.insert(side.end(), ids->begin(), ids->end());
  }
  if (!seen_text) return pieces->Fault("lacks the sequence A");
  return parsed;
}

// ["[SEP]", 102] of the field `key`.
Result<TokenId> ParseNamedId(const JsonView& config, std::string_view key, const Exists& exists) {
  const Result<JsonView> pair = config.Array(key);
  if (!pair) return pair.error();
  if (pair->json().size() != 2) return pair->Fault("must be a token and its id");
  return ParseId(pair->At(1), exists);
}

Status Add(const JsonView& config, const Exists& exists, int nesting, PostProcessor& whole) {
  const Result<std::string> type = config.String("type");
  if (!type) return type.error();
  if (*type == "Sequence") {
    if (nesting >= kMaxNesting) return config.Fault("is nested too deeply");
    const Result<JsonView> parts = config.Array("processors");
    if (!parts) return parts.error();
    for (std::size_t i = 0; i < parts->json().size(); ++i)
      QUIRE_RETURN_IF_ERROR(Add(parts->At(i), exists, nesting + 1, whole));
    return {};
  }
  if (*type == "ByteLevel") return {};  // concerns offsets only
  PostProcessor part;
  if (*type == "TemplateProcessing") {
    Result<PostProcessor> parsed = ParseTemplate(config, exists);
    if (!parsed) return parsed.error();
    part = *std::move(parsed);
  } else if (*type == "BertProcessing" || *type == "RobertaProcessing") {
    const Result<TokenId> first = ParseNamedId(config, "cls", exists);
    if (!first) return first.error();
    const Result<TokenId> last = ParseNamedId(config, "sep", exists);
    if (!last) return last.error();
    part = {{*first}, {*last}};
  } else {
    return config.Fault("has the type " + Quoted(*type) + ", which is not supported");
  }
  // A later processor goes around what the earlier ones made.
  whole.before.insert(whole.before.begin(), part.before.begin(), part.before.end());
  whole.after.insert(whole.after.end(), part.after.begin(), part.after.end());
  return {};
}

}  // namespace

Result<PostProcessor> PostProcessor::Parse(const std::optional<JsonView>& config,
                                           const Exists& exists) {
  PostProcessor parsed;
  if (!config) return parsed;
  const Status status = Add(*config, exists, 0, parsed);
  if (!status) return status.error();
  return parsed;
}

}  // namespace quire
