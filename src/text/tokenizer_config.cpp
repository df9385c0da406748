#include "text/tokenizer_config.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <string_view>
#include <system_error>
#include <utility>

#include "base/utf8.h"

namespace quire {
namespace {

constexpr std::size_t kMaxConfigBytes = std::size_t{64} << 20;
constexpr std::size_t kMaxTemplateBytes = std::size_t{16} << 20;
constexpr char kConfigName[] = "tokenizer_config.json";
constexpr char kMapName[] = "special_tokens_map.json";
constexpr char kTemplateName[] = "chat_template.jinja";
constexpr std::string_view kTokenSuffix = "_token";

constexpr std::string_view kKnownTokens[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                             "pad_token", "cls_token", "mask_token"};

Result<std::optional<Json>> ReadJson(const std::filesystem::path& folder, const std::string& name) {
  const Result<std::optional<std::string>> text = ReadFolderFile(folder, name, kMaxConfigBytes);
  if (!text) return text.error();
  if (!*text) return std::optional<Json>();
  JsonLimits limits;
  limits.allow_duplicate_keys = true;
  Result<Json> parsed = ParseJson(**text, limits);
  if (!parsed) return ModelFault(name + ": " + parsed.error().message);
  if (!parsed->is_object()) return ModelFault(name + ": must be an object");
  return std::optional<Json>(*std::move(parsed));
}

// Adds the members "…_token" that are not there yet: a string, or an object with its content.
Status AddSpecialTokens(const JsonView& root, std::map<std::string, std::string>& tokens) {
  for (const auto& [key, value] : root.json().get_ref<const Json::object_t&>()) {
    if (!std::string_view(key).ends_with(kTokenSuffix) || value.is_null()) continue;
    const JsonView field = *root.Find(key);
    if (value.is_object()) {
      const Result<std::string> content = field.String("content");
      if (!content) return content.error();
      tokens.emplace(key, *content);
    } else if (value.is_string()) {
      tokens.emplace(key, value.get_ref<const std::string&>());
    } else if (std::find(std::begin(kKnownTokens), std::end(kKnownTokens), key) !=
               std::end(kKnownTokens)) {
      return field.Fault("must be a string or an added token");
    }
  }
  return {};
}

// A string, or a list of {name, template} of which the one named "default" counts.
Result<std::optional<std::string>> ParseTemplate(const JsonView& root) {
  const std::optional<JsonView> field = root.Find("chat_template");
  if (!field) return std::optional<std::string>();
  if (field->json().is_string())
    return std::optional<std::string>(field->json().get_ref<const std::string&>());
  if (!field->json().is_array()) return field->Fault("must be a string or an array");
  std::optional<std::string> found;
  for (std::size_t i = 0; i < field->json().size(); ++i) {
    const Result<std::string> name = field->At(i).String("name");
    if (!name) return name.error();
    const Result<std::string> source = field->At(i).String("template");
    if (!source) return source.error();
    if (*name == "default") found = *source;
  }
  return found;
}

Result<std::vector<AddedToken>> ParseAddedTokens(const JsonView& root) {
  std::vector<AddedToken> tokens;
  const std::optional<JsonView> field = root.Find("added_tokens_decoder");
  if (!field) return tokens;
  if (!field->json().is_object()) return field->Fault("must be an object");
  for (const auto& [key, value] : field->json().get_ref<const Json::object_t&>()) {
    TokenId id = -1;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (error != std::errc() || end != key.data() + key.size() || id < 0 || id > kMaxTokenId)
      return field->Fault("has the key " + Quoted(key) + ", which is no token id");
    if (value.is_null()) return field->Fault("gives null for " + Quoted(key));
    Result<AddedToken> token = AddedToken::Parse(*field->Find(key), id);
    if (!token) return token.error();
    tokens.push_back(*std::move(token));
  }
  return tokens;
}

Status ReadConfig(const std::filesystem::path& folder, TokenizerConfig& config) {
  const Result<std::optional<Json>> json = ReadJson(folder, kConfigName);
  if (!json) return json.error();
  if (!*json) return {};
  const JsonView root(**json, kConfigName);
  QUIRE_RETURN_IF_ERROR(AddSpecialTokens(root, config.special_tokens));
  Result<std::optional<std::string>> chat_template = ParseTemplate(root);
  if (!chat_template) return chat_template.error();
  config.chat_template = *std::move(chat_template);
  Result<std::vector<AddedToken>> added = ParseAddedTokens(root);
  if (!added) return added.error();
  config.added_tokens = *std::move(added);
  return {};
}

}  // namespace

Result<std::optional<std::string>> ReadFolderFile(const std::filesystem::path& folder,
                                                  const std::string& name, std::size_t max_bytes) {
  const std::filesystem::path path = folder / name;
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(path, error);
  if (status.type() == std::filesystem::file_type::not_found) return std::optional<std::string>();
  if (error) return ModelFault(name + ": cannot be read (" + error.message() + ")");
  if (status.type() != std::filesystem::file_type::regular)
    return ModelFault(name + ": is not a file");
  const std::uintmax_t size = std::filesystem::file_size(path, error);
  if (error) return ModelFault(name + ": cannot be read (" + error.message() + ")");
  if (size > max_bytes) return ModelFault(name + ": is too large");
  std::string text(static_cast<std::size_t>(size), '\0');
  std::ifstream file(path, std::ios::binary);
  if (!file.read(text.data(), static_cast<std::streamsize>(text.size())))
    return ModelFault(name + ": cannot be read");
  return std::optional<std::string>(std::move(text));
}

Result<TokenizerConfig> TokenizerConfig::Load(const std::filesystem::path& folder) {
  TokenizerConfig config;
  QUIRE_RETURN_IF_ERROR(ReadConfig(folder, config));
  const Result<std::optional<Json>> map = ReadJson(folder, kMapName);
  if (!map) return map.error();
  if (*map)
    QUIRE_RETURN_IF_ERROR(AddSpecialTokens(JsonView(**map, kMapName), config.special_tokens));
  Result<std::optional<std::string>> source =
      ReadFolderFile(folder, kTemplateName, kMaxTemplateBytes);
  if (!source) return source.error();
  if (*source) {
    if (!IsValidUtf8(**source)) return ModelFault(std::string(kTemplateName) + ": is not UTF-8");
    config.chat_template = *std::move(source);
  }
  return config;
}

}  // namespace quire
