// tools and tool_choice: their form. Calls themselves are not built; tool_choice "none" shows the
// tools to the template.
#include <fmt/core.h>

#include <set>
#include <string_view>

#include "server/generation_request.h"

namespace quire {
namespace {

constexpr std::size_t kMaxTools = 128;
constexpr std::size_t kMaxNameBytes = 64;
constexpr std::size_t kMaxDescriptionBytes = 1 << 20;

bool IsToolName(std::string_view name) {
  if (name.empty() || name.size() > kMaxNameBytes) return false;
  for (const char c : name) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (!letter && !(c >= '0' && c <= '9') && c != '_' && c != '-' && c != '.') return false;
  }
  return true;
}

// The name of a tool whose form is right, or an error in the reader.
std::string CheckTool(FieldReader& tool) {
  const auto type = tool.String("type", kMaxNameBytes);
  if (type.value_or("") != "function")
    tool.Fail("'type' must be \"function\"", "type", "invalid_value");
  const Json* function_json = tool.Object("function");
  if (function_json == nullptr) {
    tool.Fail("'function' is missing", "function", "missing_required_parameter");
    return "";
  }
  FieldReader function(*function_json, tool.PathOf("function"));
  const std::string name = function.String("name", 1024).value_or("");
  if (!IsToolName(name))
    function.Fail("'name' must be 1 to 64 letters, digits, '_', '-' or '.'", "name",
                  "invalid_value");
  (void)function.String("description", kMaxDescriptionBytes);
  (void)function.Object("parameters");
  (void)function.Bool("strict", false);
  if (auto status = function.status(); !status) tool.FailWith(status.error());
  return name;
}

bool Names(const Json& tools, std::string_view name) {
  for (const Json& tool : tools)
    if (tool["function"]["name"] == name) return true;
  return false;
}

// The name that {"type": "function", "function": {"name": …}} asks for must be a tool's.
void CheckNamedChoice(FieldReader& reader, const Json& choice, const Json& tools) {
  FieldReader named(choice, "tool_choice");
  if (named.String("type", kMaxNameBytes).value_or("") != "function")
    named.Fail("'tool_choice.type' must be \"function\"", "type", "invalid_value");
  const Json* function_json = named.Object("function");
  if (function_json == nullptr) {
    named.Fail("'tool_choice.function' is missing", "function", "missing_required_parameter");
  } else {
    FieldReader function(*function_json, "tool_choice.function");
    const std::string name = function.String("name", 1024).value_or("");
    if (!Names(tools, name))
      function.Fail("'tool_choice' names none of 'tools'", "name", "invalid_value");
    if (auto status = function.status(); !status) named.FailWith(status.error());
  }
  if (auto status = named.status(); !status) reader.FailWith(status.error());
}

}  // namespace

Json ReadTools(FieldReader& reader) {
  const Json* tools = reader.Array("tools", kMaxTools);
  if (tools == nullptr || tools->empty()) return nullptr;
  std::set<std::string> names;
  for (std::size_t i = 0; i < tools->size() && reader.ok(); ++i) {
    FieldReader tool((*tools)[i], fmt::format("tools[{}]", i));
    const std::string name = CheckTool(tool);
    if (tool.ok() && !names.insert(name).second)
      tool.Fail("two tools have one name", "function.name", "invalid_value");
    if (auto status = tool.status(); !status) reader.FailWith(status.error());
  }
  return *tools;
}

void CheckToolChoice(FieldReader& reader, const Json& tools, const ServerOptions& options) {
  if (!reader.ok()) return;
  const Json* choice = reader.Find("tool_choice");
  if (choice == nullptr && tools.is_null()) return;
  std::string word = "auto";  // with tools and no word of what to do with them
  if (choice != nullptr && choice->is_object())
    word = "named";
  else if (choice != nullptr && choice->is_string())
    word = choice->get<std::string>();
  else if (choice != nullptr)
    return reader.Fail("'tool_choice' must be a string or an object", "tool_choice",
                       "invalid_type");
  if (word == "none") return;
  const bool by_name = choice != nullptr && choice->is_object();
  if (!by_name && word != "auto" && word != "required")
    return reader.Fail("'tool_choice' must be \"none\", \"auto\", \"required\" or name a tool",
                       "tool_choice", "invalid_value");
  if (tools.is_null())
    return reader.Fail("'tool_choice' needs 'tools'", "tool_choice", "invalid_value");
  if (by_name) CheckNamedChoice(reader, *choice, tools);
  if (word == "auto" && !(options.enable_auto_tool_choice && !options.tool_call_parser.empty()))
    return reader.Fail(
        "\"auto\" tool choice requires --enable-auto-tool-choice and "
        "--tool-call-parser to be set",
        "tool_choice", "not_supported");
  reader.Fail("tool calls are not supported by this server: 'tool_choice' must be \"none\"",
              "tool_choice", "not_supported");
}

}  // namespace quire
