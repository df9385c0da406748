#include "text/chat_template.h"

#include <exception>
#include <utility>

#include "base/utf8.h"
#include "text/jinja_ast.h"
#include "text/jinja_content_format.h"
#include "text/jinja_interpreter.h"
#include "text/jinja_json.h"
#include "text/jinja_parser.h"

namespace quire {
namespace {

constexpr std::size_t kMaxMessageBytes = 256;

std::string Shortened(std::string text) {
  if (text.size() <= kMaxMessageBytes) return text;
  text.resize(kMaxMessageBytes);
  text.resize(text.size() - IncompleteUtf8Tail(text));
  return text;
}

std::string Describe(const jinja::TemplateError& error, int line) {
  if (error.raised()) return Shortened(error.message());
  if (error.line() != 0) line = error.line();
  const std::string place =
      line == 0 ? "chat template: " : "chat template, line " + std::to_string(line) + ": ";
  return Shortened(place + error.message());
}

// The variables as Hugging Face's apply_chat_template sets them: what has no value is None, not
// undefined.
void SetVariables(jinja::Interpreter& run, const ChatInput& input) {
  run.SetGlobal("documents", jinja::Value::None());
  for (const auto& [name, token] : input.special_tokens)
    if (run.Mentions(name)) run.SetGlobal(name, jinja::FromJson(run.heap(), Json(token)));
  if (input.kwargs.is_object()) {
    for (const auto& [name, value] : input.kwargs.items())
      if (run.Mentions(name)) run.SetGlobal(name, jinja::FromJson(run.heap(), value));
  }
  run.SetGlobal("messages", jinja::FromJson(run.heap(), input.messages));
  run.SetGlobal("tools", jinja::FromJson(run.heap(), input.tools));
  run.SetGlobal("add_generation_prompt", jinja::Value::Bool(input.add_generation_prompt));
}

}  // namespace

// Owns the syntax tree.
class ChatTemplate::Impl {
 public:
  explicit Impl(std::unique_ptr<const jinja::Ast> ast)
      : ast_(std::move(ast)), takes_content_parts_(jinja::TakesContentParts(*ast_)) {}

  const jinja::Ast& ast() const { return *ast_; }
  bool takes_content_parts() const { return takes_content_parts_; }

 private:
  std::unique_ptr<const jinja::Ast> ast_;
  bool takes_content_parts_;
};

ChatTemplate::ChatTemplate(std::unique_ptr<const Impl> impl) : impl_(std::move(impl)) {}
ChatTemplate::~ChatTemplate() = default;

Result<std::shared_ptr<const ChatTemplate>> ChatTemplate::Parse(std::string_view source) {
  try {
    auto impl = std::make_unique<const Impl>(jinja::Parse(source));
    return std::shared_ptr<const ChatTemplate>(new ChatTemplate(std::move(impl)));
  } catch (const jinja::TemplateError& error) {
    return ModelFault(Describe(error, 0));
  } catch (const std::exception&) {
    return ModelFault("chat template: it cannot be read");
  }
}

Result<std::string> ChatTemplate::Render(const ChatInput& input) const {
  try {
    jinja::Interpreter run(impl_->ast(), jinja::Limits{},
                           input.now.value_or(std::chrono::system_clock::now()));
    try {
      SetVariables(run, input);
      return run.Run();
    } catch (const jinja::TemplateError& error) {
      return InvalidRequest(Describe(error, run.line()), "messages");
    }
  } catch (const std::exception&) {
    return InvalidRequest("chat template: it cannot be rendered", "messages");
  }
}

bool ChatTemplate::takes_content_parts() const { return impl_->takes_content_parts(); }

}  // namespace quire
