#include <fmt/core.h>

#include <limits>
#include <string_view>

#include "server/generation_request.h"

namespace quire {
namespace {

constexpr std::int64_t kMaxInt32 = std::numeric_limits<std::int32_t>::max();
constexpr std::int64_t kMinInt32 = std::numeric_limits<std::int32_t>::min();
constexpr std::int64_t kMaxN = 128;
constexpr std::size_t kMaxStops = 4;
constexpr std::size_t kMaxStopBytes = 1024;
constexpr std::size_t kMaxStopTokens = 1024;
constexpr std::size_t kMaxBadWords = 128;
constexpr std::size_t kMaxLogitBias = 1024;
constexpr std::size_t kMaxUserBytes = 1024;
constexpr std::size_t kMaxSaltBytes = 256;
constexpr std::size_t kMaxRequestIdBytes = 128;
constexpr double kTinyProbability = 1e-6;
constexpr double kMaxRepetitionPenalty = 100;
// Below it a temperature is greedy, as in vLLM: dividing logits by less would leave float32's
// range.
constexpr double kGreedyTemperature = 1e-5;

float Narrow(double value) { return static_cast<float>(value); }

void ReadProbabilities(FieldReader& reader, const DefaultSampling& defaults,
                       SamplingParams& sampling) {
  const double temperature =
      reader.Number("temperature", 0, 2).value_or(defaults.temperature.value_or(1.0F));
  sampling.temperature = temperature < kGreedyTemperature ? 0.0F : Narrow(temperature);
  sampling.top_p =
      Narrow(reader.Number("top_p", kTinyProbability, 1).value_or(defaults.top_p.value_or(1.0F)));
  sampling.min_p = Narrow(reader.Number("min_p", 0, 1).value_or(defaults.min_p.value_or(0.0F)));
  sampling.repetition_penalty =
      Narrow(reader.Number("repetition_penalty", 0.01, kMaxRepetitionPenalty)
                 .value_or(defaults.repetition_penalty.value_or(1.0F)));
  sampling.presence_penalty = Narrow(reader.Number("presence_penalty", -2, 2).value_or(0));
  sampling.frequency_penalty = Narrow(reader.Number("frequency_penalty", -2, 2).value_or(0));
}

// Canonical decimals only, so that no id can be given twice in two spellings.
std::optional<TokenId> IdOfKey(std::string_view key, std::int64_t vocab_size) {
  if (key.empty() || key.size() > 10 || (key.size() > 1 && key[0] == '0')) return std::nullopt;
  std::int64_t id = 0;
  for (const char c : key) {
    if (c < '0' || c > '9') return std::nullopt;
    id = id * 10 + (c - '0');
  }
  if (id >= vocab_size) return std::nullopt;
  return static_cast<TokenId>(id);
}

void ReadLogitBias(FieldReader& reader, std::int64_t vocab_size, SamplingParams& sampling) {
  const Json* biases = reader.Object("logit_bias");
  if (biases == nullptr) return;
  if (biases->size() > kMaxLogitBias)
    return reader.Fail(fmt::format("'logit_bias' must have at most {} entries", kMaxLogitBias),
                       "logit_bias", "object_above_max_properties");
  for (const auto& [key, value] : biases->get_ref<const Json::object_t&>()) {
    const auto id = IdOfKey(key, vocab_size);
    if (!id)
      return reader.Fail(
          fmt::format("the keys of 'logit_bias' must be token ids of 0 to {}", vocab_size - 1),
          "logit_bias", "token_out_of_vocabulary");
    if (!value.is_number() || !(value.get<double>() >= -100 && value.get<double>() <= 100))
      return reader.Fail("the values of 'logit_bias' must be numbers of -100 to 100", "logit_bias",
                         "invalid_value");
    sampling.logit_bias.emplace_back(*id, Narrow(value.get<double>()));
  }
}

void ReadTokenRules(FieldReader& reader, const ServedModel& model, GenerationFields& fields) {
  const std::int64_t vocab_size = model.info.vocab_size;
  SamplingParams& sampling = fields.sampling;
  const std::int64_t top_k =
      reader.Int("top_k", -1, kMaxInt32).value_or(model.defaults.top_k.value_or(0));
  sampling.top_k = top_k <= 0 || top_k >= vocab_size ? 0 : static_cast<std::int32_t>(top_k);
  sampling.stop_token_ids = reader.TokenIds("stop_token_ids", kMaxStopTokens, vocab_size);
  sampling.allowed_token_ids =
      reader.TokenIds("allowed_token_ids", static_cast<std::size_t>(vocab_size), vocab_size);
  if (reader.Has("allowed_token_ids") && sampling.allowed_token_ids.empty())
    reader.Fail("'allowed_token_ids' must not be empty", "allowed_token_ids", "empty_array");
  ReadLogitBias(reader, vocab_size, sampling);
  sampling.ignore_eos = reader.Bool("ignore_eos", false);
  sampling.min_tokens =
      static_cast<std::int32_t>(reader.Int("min_tokens", 0, kMaxInt32).value_or(0));
  fields.stop = reader.Strings("stop", kMaxStops, kMaxStopBytes, true);
  fields.bad_words = reader.Strings("bad_words", kMaxBadWords, kMaxStopBytes, false);
}

void ReadStreamOptions(FieldReader& reader, const ServerOptions& options,
                       GenerationFields& fields) {
  fields.stream = reader.Bool("stream", false);
  fields.include_usage = fields.stream && options.enable_force_include_usage;
  const Json* json = reader.Object("stream_options");
  if (json == nullptr) return;
  if (!fields.stream)
    return reader.Fail("'stream_options' needs 'stream': true", "stream_options", "invalid_value");
  FieldReader nested(*json, "stream_options");
  fields.include_usage = nested.Bool("include_usage", false) || fields.include_usage;
  fields.continuous_usage = nested.Bool("continuous_usage_stats", false) && fields.include_usage;
  if (auto status = nested.status(); !status) reader.FailWith(status.error());
}

void ReadIdentity(FieldReader& reader, GenerationFields& fields) {
  (void)reader.String("user", kMaxUserBytes);
  if (reader.Has("cache_salt")) {
    fields.cache_salt = reader.String("cache_salt", kMaxSaltBytes).value_or("");
    if (fields.cache_salt.empty())
      reader.Fail("'cache_salt' must not be empty", "cache_salt", "string_below_min_length");
  }
  fields.priority =
      static_cast<std::int32_t>(reader.Int("priority", kMinInt32, kMaxInt32).value_or(0));
  fields.request_id = reader.String("request_id", kMaxRequestIdBytes).value_or("");
}

void ReadTruncation(FieldReader& reader, GenerationFields& fields) {
  fields.truncate_prompt_tokens = reader.Int("truncate_prompt_tokens", -1, kMaxInt32);
  if (fields.truncate_prompt_tokens == 0)
    reader.Fail("'truncate_prompt_tokens' must be -1 or at least 1", "truncate_prompt_tokens",
                "integer_below_min_value");
  const auto side = reader.String("truncation_side", 16);
  if (side && *side != "left" && *side != "right")
    reader.Fail("'truncation_side' must be \"left\" or \"right\"", "truncation_side",
                "invalid_value");
  fields.truncate_right = side == "right";
}

}  // namespace

void CheckModelName(FieldReader& reader, const ServerOptions& options, bool required) {
  const Json* value = reader.Find("model");
  if (value == nullptr) {
    if (required) reader.Fail("you must provide 'model'", "model", "missing_required_parameter");
    return;
  }
  if (!value->is_string()) return reader.Fail("'model' must be a string", "model", "invalid_type");
  const auto& name = value->get_ref<const std::string&>();
  for (const std::string& served : options.served_model_names)
    if (name == served) return;
  reader.FailWith({ErrorKind::kNotFound,
                   fmt::format("the model does not exist here; this server serves '{}'",
                               options.served_model_names.front()),
                   "model", "model_not_found"});
}

GenerationFields ReadGenerationFields(FieldReader& reader, const ServerOptions& options,
                                      const ServedModel& model) {
  GenerationFields fields;
  fields.n = static_cast<int>(reader.Int("n", 1, kMaxN).value_or(1));
  if (const auto max_tokens = reader.Int("max_tokens", 0, kMaxInt32))
    fields.max_tokens = static_cast<std::int32_t>(*max_tokens);
  if (const auto seed = reader.Int("seed", std::numeric_limits<std::int64_t>::min(),
                                   std::numeric_limits<std::int64_t>::max()))
    fields.seed = static_cast<std::uint64_t>(*seed);
  ReadProbabilities(reader, model.defaults, fields.sampling);
  ReadTokenRules(reader, model, fields);
  ReadStreamOptions(reader, options, fields);
  ReadIdentity(reader, fields);
  ReadTruncation(reader, fields);
  fields.include_stop_text = reader.Bool("include_stop_str_in_output", false);
  fields.skip_special_tokens = reader.Bool("skip_special_tokens", true);
  // Has a meaning for slow tokenizers alone, which are not built; either value gives the same text.
  (void)reader.Bool("spaces_between_special_tokens", true);
  fields.return_token_ids = reader.Bool("return_token_ids", false);
  fields.tokens_as_ids =
      reader.Bool("return_tokens_as_token_ids", options.return_tokens_as_token_ids);
  const std::int64_t max_logprobs =
      options.max_logprobs < 0 ? model.info.vocab_size : options.max_logprobs;
  if (const auto count = reader.Int("prompt_logprobs", 0, max_logprobs)) {
    fields.num_prompt_logprobs = static_cast<int>(*count);
    fields.sampling.num_prompt_logprobs = fields.num_prompt_logprobs;
    if (fields.stream)
      reader.Fail("'prompt_logprobs' can not be streamed", "prompt_logprobs", "invalid_value");
  }
  return fields;
}

}  // namespace quire
