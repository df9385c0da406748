#include "cli/served_model.h"

#include <fmt/core.h>

#include <ctime>
#include <fstream>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <system_error>
#include <utility>

#include "engine/load.h"
#include "weights/model_folder.h"

namespace quire {
namespace {

constexpr std::size_t kMaxTemplateBytes = 1 << 20;

Result<std::string> TemplateSource(const std::string& flag) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(flag, ignored)) {
    if (flag.find('{') != std::string::npos) return flag;  // the template itself
    return ConfigFault("--chat-template: there is no file " + flag);
  }
  std::ifstream file(flag, std::ios::binary);
  std::string source{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (!file || source.size() > kMaxTemplateBytes)
    return ConfigFault("--chat-template: " + flag + " cannot be read, or has more than 1 MiB");
  return source;
}

// A number of generation_config.json within its range; null and absent are the same.
template <class T>
Status ReadNumber(const Json& config, const char* name, double low, double high,
                  std::optional<T>& out) {
  const auto found = config.find(name);
  if (found == config.end() || found->is_null()) return {};
  const double value = found->is_number() ? found->get<double>() : low - 1;
  if (!(value >= low && value <= high)) {
    return ModelFault(
        fmt::format("generation_config.json: {} must be a number from {} to {}", name, low, high));
  }
  out = static_cast<T>(value);
  return {};
}

Result<DefaultSampling> ReadDefaults(const std::filesystem::path& folder) {
  DefaultSampling defaults;
  const std::filesystem::path file = folder / "generation_config.json";
  std::error_code ignored;
  if (!std::filesystem::exists(file, ignored)) return defaults;
  auto config = ReadJsonFile(file);
  if (!config) return config.error();
  const auto do_sample = config->find("do_sample");
  const bool samples =
      do_sample == config->end() || !do_sample->is_boolean() || do_sample->get<bool>();
  if (samples) {
    QUIRE_RETURN_IF_ERROR(ReadNumber(*config, "temperature", 0, 2, defaults.temperature));
    QUIRE_RETURN_IF_ERROR(ReadNumber(*config, "top_p", 1e-6, 1, defaults.top_p));
    QUIRE_RETURN_IF_ERROR(
        ReadNumber(*config, "top_k", 0, std::numeric_limits<std::int32_t>::max(), defaults.top_k));
    QUIRE_RETURN_IF_ERROR(ReadNumber(*config, "min_p", 0, 1, defaults.min_p));
  }
  QUIRE_RETURN_IF_ERROR(
      ReadNumber(*config, "repetition_penalty", 0.01, 100, defaults.repetition_penalty));
  QUIRE_RETURN_IF_ERROR(ReadNumber(*config, "max_new_tokens", 1,
                                   std::numeric_limits<std::int32_t>::max(), defaults.max_tokens));
  return defaults;
}

}  // namespace

Result<ServedModel> LoadServedModel(const std::filesystem::path& folder,
                                    const ServedModelFlags& flags) {
  ServedModel model;
  model.created = static_cast<std::int64_t>(std::time(nullptr));
  std::optional<std::string> source;
  if (!flags.skip_tokenizer_init) {
    std::filesystem::path tokenizer_folder = folder;
    if (!flags.tokenizer.empty()) {
      auto found = FindModel(flags.tokenizer);
      if (!found) return found.error();
      tokenizer_folder = *found;
    }
    auto tokenizer = Tokenizer::Load(tokenizer_folder);
    if (!tokenizer) return tokenizer.error();
    model.tokenizer = *tokenizer;
    source = model.tokenizer->chat_template();
  }
  if (!flags.chat_template.empty()) {
    auto read = TemplateSource(flags.chat_template);
    if (!read) return read.error();
    source = *read;
  }
  if (source) {
    auto parsed = ChatTemplate::Parse(*source);
    if (!parsed) return parsed.error();
    model.chat_template = *parsed;
  }
  if (flags.generation_config == "auto") {
    auto defaults = ReadDefaults(folder);
    if (!defaults) return defaults.error();
    model.defaults = *defaults;
  }
  return model;
}

}  // namespace quire
