// The messages of a chat, checked and brought into the form that templates take.
#include <fmt/core.h>

#include <array>
#include <string_view>
#include <utility>

#include "server/generation_request.h"

namespace quire {
namespace {

constexpr std::size_t kMaxMessages = 4096;
constexpr std::size_t kMaxParts = 1024;
constexpr std::size_t kMaxCalls = 128;
constexpr std::size_t kMaxTextBytes = 16 << 20;  // the body's limit
constexpr std::size_t kMaxNameBytes = 256;
constexpr std::array<std::string_view, 6> kRoles = {"system",    "developer", "user",
                                                    "assistant", "tool",      "function"};

bool IsRole(std::string_view text) {
  for (const std::string_view role : kRoles)
    if (text == role) return true;
  return false;
}

// The text of a part, or an error in the reader.
std::string TextOfPart(FieldReader& part) {
  const std::string type = part.String("type", kMaxNameBytes).value_or("");
  if (type == "text" || type == "input_text" || type == "output_text") {
    if (auto text = part.String("text", kMaxTextBytes)) return std::move(*text);
    part.Fail("a text part needs 'text'", "text", "missing_required_parameter");
  } else if (type == "refusal") {
    if (auto text = part.String("refusal", kMaxTextBytes)) return std::move(*text);
    part.Fail("a refusal part needs 'refusal'", "refusal", "missing_required_parameter");
  }
  part.Fail("content parts other than text are not supported by this model", "type",
            "unsupported_content_type");
  return "";
}

// Parts joined by line ends, or as a list of text parts.
Json ReadParts(FieldReader& message, const Json& list, bool keep_parts) {
  Json parts = Json::array();
  std::string joined;
  if (list.size() > kMaxParts)
    message.Fail(fmt::format("'content' must have at most {} parts", kMaxParts), "content",
                 "array_above_max_length");
  for (std::size_t i = 0; i < list.size() && message.ok(); ++i) {
    std::string text;
    if (list[i].is_string()) {
      text = list[i].get<std::string>();
    } else {
      FieldReader part(list[i], fmt::format("{}[{}]", message.PathOf("content"), i));
      text = TextOfPart(part);
      if (auto status = part.status(); !status) message.FailWith(status.error());
    }
    if (i > 0) joined += '\n';
    joined += text;
    parts.push_back(Json{{"type", "text"}, {"text", std::move(text)}});
  }
  return keep_parts ? parts : Json(std::move(joined));
}

// Templates take arguments as an object; text that is no JSON object stays text.
Json ReadArguments(FieldReader& function) {
  const Json* value = function.Find("arguments");
  if (value == nullptr) return Json::object();
  if (value->is_object()) return *value;
  if (!value->is_string()) {
    function.Fail("'arguments' must be a string", "arguments", "invalid_type");
    return Json::object();
  }
  const auto& text = value->get_ref<const std::string&>();
  if (text.empty()) return Json::object();
  auto parsed = ParseJson(text);
  if (parsed && parsed->is_object()) return std::move(parsed).value();
  return *value;
}

Json ReadCalls(FieldReader& message) {
  Json calls = Json::array();
  const Json* list = message.Array("tool_calls", kMaxCalls);
  for (std::size_t i = 0; list != nullptr && i < list->size() && message.ok(); ++i) {
    FieldReader call((*list)[i], fmt::format("{}[{}]", message.PathOf("tool_calls"), i));
    Json out = Json::object();
    if (auto id = call.String("id", kMaxNameBytes)) out["id"] = std::move(*id);
    const std::string type = call.String("type", kMaxNameBytes).value_or("function");
    if (type != "function") call.Fail("'type' must be \"function\"", "type", "invalid_value");
    out["type"] = type;
    const Json* function_json = call.Object("function");
    if (function_json == nullptr) {
      call.Fail("'function' is missing", "function", "missing_required_parameter");
    } else {
      FieldReader function(*function_json, call.PathOf("function"));
      auto name = function.String("name", kMaxNameBytes);
      if (!name) function.Fail("'name' is missing", "name", "missing_required_parameter");
      out["function"]["name"] = name.value_or("");
      out["function"]["arguments"] = ReadArguments(function);
      if (auto status = function.status(); !status) call.FailWith(status.error());
    }
    if (auto status = call.status(); !status) message.FailWith(status.error());
    calls.push_back(std::move(out));
  }
  return calls;
}

Json ReadMessage(FieldReader& message, bool keep_parts) {
  Json out = Json::object();
  const Json* role = message.Find("role");
  if (role == nullptr) {
    message.Fail("a message needs a 'role'", "role", "missing_required_parameter");
    return out;
  }
  if (!role->is_string() || !IsRole(role->get_ref<const std::string&>())) {
    message.Fail("'role' must be system, developer, user, assistant, tool or function", "role",
                 role->is_string() ? "invalid_value" : "invalid_type");
    return out;
  }
  out["role"] = *role;
  const bool has_calls = message.Has("tool_calls");
  const Json* content = message.Find("content");
  if (content == nullptr) {
    if (!(has_calls || (*role == "assistant" && message.Has("refusal"))))
      message.Fail("a message needs 'content'", "content", "missing_required_parameter");
    out["content"] = message.String("refusal", kMaxTextBytes).value_or("");
  } else if (content->is_string()) {
    out["content"] = *content;
  } else if (content->is_array()) {
    out["content"] = ReadParts(message, *content, keep_parts);
  } else {
    message.Fail("'content' must be a text or a list of parts", "content", "invalid_type");
  }
  for (const std::string_view name : {"name", "tool_call_id"})
    if (auto text = message.String(name, kMaxNameBytes)) out[std::string(name)] = std::move(*text);
  for (const std::string_view name : {"reasoning_content", "reasoning"})
    if (auto text = message.String(name, kMaxTextBytes)) out[std::string(name)] = std::move(*text);
  if (has_calls) out["tool_calls"] = ReadCalls(message);
  return out;
}

}  // namespace

Json ReadMessages(FieldReader& reader, bool keep_parts) {
  Json out = Json::array();
  if (!reader.Has("messages"))
    reader.Fail("you must provide 'messages'", "messages", "missing_required_parameter");
  const Json* list = reader.Array("messages", kMaxMessages);
  if (list == nullptr) return out;
  if (list->empty()) reader.Fail("'messages' must not be empty", "messages", "empty_array");
  for (std::size_t i = 0; i < list->size() && reader.ok(); ++i) {
    FieldReader message((*list)[i], fmt::format("messages[{}]", i));
    out.push_back(ReadMessage(message, keep_parts));
    if (auto status = message.status(); !status) reader.FailWith(status.error());
  }
  return out;
}

}  // namespace quire
