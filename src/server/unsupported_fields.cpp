// Fields of features that are not built: their form is checked, then they are refused by name,
// never ignored.
#include <fmt/core.h>

#include <array>
#include <string_view>

#include "server/generation_request.h"

namespace quire {
namespace {

enum class Form : unsigned char { kBool, kInt, kNumber, kString, kArray, kObject, kAny };

struct Unsupported {
  std::string_view name;
  Form form;
};

// A false flag, an empty text and a list or object without items ask for nothing and pass.
constexpr std::array kUnsupported = {
    Unsupported{"suffix", Form::kString},
    Unsupported{"use_beam_search", Form::kBool},
    Unsupported{"length_penalty", Form::kNumber},
    Unsupported{"early_stopping", Form::kBool},
    Unsupported{"prompt_embeds", Form::kAny},
    Unsupported{"logprob_token_ids", Form::kArray},
    Unsupported{"thinking_token_budget", Form::kInt},
    Unsupported{"repetition_detection", Form::kObject},
    Unsupported{"stream_interval", Form::kInt},
    Unsupported{"skip_reading_prefix_cache", Form::kBool},
    Unsupported{"vllm_xargs", Form::kObject},
    Unsupported{"logits_processors", Form::kArray},
    Unsupported{"kv_transfer_params", Form::kObject},
    Unsupported{"ec_transfer_params", Form::kObject},
    Unsupported{"mm_processor_kwargs", Form::kObject},
    Unsupported{"media_io_kwargs", Form::kObject},
    Unsupported{"return_token_offsets", Form::kBool},
    Unsupported{"return_prompt_text", Form::kBool},
    Unsupported{"routed_experts_prompt_start", Form::kInt},
    Unsupported{"guided_json", Form::kAny},
    Unsupported{"guided_regex", Form::kString},
    Unsupported{"guided_choice", Form::kArray},
    Unsupported{"guided_grammar", Form::kString},
    Unsupported{"functions", Form::kArray},
    Unsupported{"function_call", Form::kAny},
    Unsupported{"audio", Form::kObject},
    Unsupported{"prediction", Form::kObject},
    Unsupported{"web_search_options", Form::kObject},
    Unsupported{"store", Form::kBool},
};

bool HasForm(const Json& value, Form form) {
  switch (form) {
    case Form::kBool:
      return value.is_boolean();
    case Form::kInt:
      return value.is_number_integer();
    case Form::kNumber:
      return value.is_number();
    case Form::kString:
      return value.is_string();
    case Form::kArray:
      return value.is_array();
    case Form::kObject:
      return value.is_object();
    case Form::kAny:
      break;
  }
  return true;
}

bool AsksForNothing(const Json& value) {
  if (value.is_boolean()) return !value.get<bool>();
  if (value.is_string()) return value.get_ref<const std::string&>().empty();
  return (value.is_array() || value.is_object()) && value.empty();
}

void NotSupported(FieldReader& reader, std::string_view name) {
  reader.Fail(fmt::format("'{}' is not supported by this server", name), name, "not_supported");
}

void CheckBestOf(FieldReader& reader) {
  const auto best_of = reader.Int("best_of", 1, 128);
  if (!best_of) return;
  const std::int64_t n = reader.Int("n", 1, 128).value_or(1);
  if (*best_of < n)
    reader.Fail("'best_of' must be at least 'n'", "best_of", "invalid_value");
  else if (*best_of > n)
    reader.Fail("'best_of' greater than 'n' is not supported", "best_of", "not_supported");
}

void CheckResponseFormat(FieldReader& reader) {
  const Json* json = reader.Object("response_format");
  if (json == nullptr) return;
  FieldReader format(*json, "response_format");
  const std::string type = format.String("type", 64).value_or("");
  if (format.ok() && type != "text" && type != "json_object" && type != "json_schema" &&
      type != "structural_tag")
    format.Fail("'response_format.type' must be \"text\", \"json_object\" or \"json_schema\"",
                "type", "invalid_value");
  if (type == "json_schema") {
    const Json* schema_json = format.Object("json_schema");
    if (schema_json == nullptr) {
      format.Fail("'response_format.json_schema' is missing", "json_schema",
                  "missing_required_parameter");
    } else {
      FieldReader schema(*schema_json, "response_format.json_schema");
      if (!schema.String("name", 64))
        schema.Fail("'name' is missing", "name", "missing_required_parameter");
      (void)schema.Bool("strict", false);
      const Json* value = schema.Find("schema");
      if (value == nullptr || !(value->is_object() || value->is_boolean()))
        schema.Fail("'schema' must be a JSON schema", "schema", "invalid_type");
      if (auto status = schema.status(); !status) format.FailWith(status.error());
    }
  }
  if (auto status = format.status(); !status) return reader.FailWith(status.error());
  if (type != "text")
    reader.Fail(
        fmt::format("'response_format' of type \"{}\" is not supported by this server", type),
        "response_format", "not_supported");
}

void CheckStructuredOutputs(FieldReader& reader) {
  const Json* json = reader.Object("structured_outputs");
  if (json == nullptr) return;
  FieldReader outputs(*json, "structured_outputs");
  int kinds = 0;
  for (const std::string_view kind :
       {"json", "regex", "choice", "grammar", "json_object", "structural_tag"})
    if (outputs.Has(kind)) ++kinds;
  if (kinds != 1)
    outputs.Fail(
        "'structured_outputs' must have exactly one of json, regex, choice, grammar, "
        "json_object and structural_tag",
        "", "invalid_value");
  for (const std::string_view text : {"regex", "grammar"}) (void)outputs.String(text, 1 << 20);
  if (const Json* choices = outputs.Array("choice", 65536); choices != nullptr && choices->empty())
    outputs.Fail("'structured_outputs.choice' must not be empty", "choice", "empty_array");
  if (auto status = outputs.status(); !status) return reader.FailWith(status.error());
  NotSupported(reader, "structured_outputs");
}

void CheckModalities(FieldReader& reader) {
  const Json* list = reader.Array("modalities", 8);
  if (list == nullptr) return;
  for (const Json& item : *list)
    if (!item.is_string() || item.get_ref<const std::string&>() != "text")
      return reader.Fail("'modalities' other than \"text\" are not supported", "modalities",
                         "not_supported");
}

}  // namespace

void RefuseUnsupported(FieldReader& reader) {
  CheckBestOf(reader);
  CheckResponseFormat(reader);
  CheckStructuredOutputs(reader);
  CheckModalities(reader);
  for (const Unsupported& row : kUnsupported) {
    const Json* value = reader.Find(row.name);
    if (value == nullptr) continue;
    if (!HasForm(*value, row.form))
      return reader.Fail(fmt::format("'{}' has the wrong type", row.name), row.name,
                         "invalid_type");
    const bool neutral_penalty = row.name == "length_penalty" && value->get<double>() == 1.0;
    if (!AsksForNothing(*value) && !neutral_penalty) return NotSupported(reader, row.name);
  }
}

}  // namespace quire
