#include "text/jinja_content_format.h"

#include <cstdint>
#include <map>
#include <vector>

namespace quire::jinja {
namespace {

// What a variable may hold, as bits.
enum Holds : unsigned { kNothing = 0, kMessages = 1, kMessage = 2, kContent = 4 };

// Follows messages and their content through the names of a template until nothing new is learnt.
// Names are taken for the whole template, whatever their scope: a guess, as vLLM's.
class ContentFinder {
 public:
  explicit ContentFinder(const Ast& ast) : ast_(ast), holds_(ast.symbols().size(), kNothing) {
    const auto messages = ast.symbols().find("messages");
    if (messages != ast.symbols().end()) holds_[At(messages->second)] = kMessages;
    for (const auto& statement : ast.statements())
      if (statement->kind == StmtKind::kMacro) {
        const Macro& macro = static_cast<const MacroStmt&>(*statement).macro;
        macros_[macro.symbol] = &macro;
      }
  }

  bool Run() {
    do {
      changed_ = false;
      for (const auto& statement : ast_.statements()) Follow(*statement);
      for (const auto& expression : ast_.expressions())
        if (expression->kind == ExprKind::kCall) FollowCall(*expression);
    } while (changed_ && !found_);
    return found_;
  }

 private:
  static std::size_t At(int symbol) { return static_cast<std::size_t>(symbol); }

  void Learn(const Target& target, unsigned held) {
    if (target.parts.empty() && target.attribute == nullptr) Learn(target.symbol, held);
  }
  void Learn(int symbol, unsigned held) {
    unsigned& known = holds_[At(symbol)];
    changed_ |= (known | held) != known;
    known |= held;
  }

  void Follow(const Stmt& statement) {
    if (statement.kind == StmtKind::kSet) {
      const auto& set = static_cast<const SetStmt&>(statement);
      Learn(set.target, Held(*set.value));
      found_ |= NormalizesContent(set);
    } else if (statement.kind == StmtKind::kWith) {
      for (const auto& [target, value] : static_cast<const WithStmt&>(statement).bindings)
        Learn(target, Held(*value));
    } else if (statement.kind == StmtKind::kFor) {
      const auto& loop = static_cast<const ForStmt&>(statement);
      const unsigned held = Held(*loop.iterable);
      found_ |= (held & kContent) != 0;
      if ((held & kMessages) != 0) Learn(loop.target, kMessage);
    }
  }

  // {% set content = content | tojson %}: whoever turns all content that is no text into text
  // expects lists.
  bool NormalizesContent(const SetStmt& set) const {
    return set.value->kind == ExprKind::kFilter && set.value->value.text() == "tojson" &&
           set.target.symbol >= 0 && set.value->parts[0]->kind == ExprKind::kName &&
           set.value->parts[0]->symbol == set.target.symbol && (Held(*set.value) & kContent) != 0;
  }

  void FollowCall(const Expr& call) {
    if (call.parts[0]->kind != ExprKind::kName) return;
    const auto macro = macros_.find(call.parts[0]->symbol);
    if (macro == macros_.end()) return;
    const auto& parameters = macro->second->parameters;
    for (std::size_t i = 1; i < call.parts.size() && i <= parameters.size(); ++i)
      Learn(parameters[i - 1].symbol, Held(*call.parts[i]));
    for (const auto& [name, value] : call.keywords)
      for (const Macro::Parameter& parameter : parameters)
        if (parameter.name->bytes == name) Learn(parameter.symbol, Held(*value));
  }

  // What a subscript or attribute of something is.
  static unsigned HeldPart(unsigned object, const Value& key) {
    unsigned held = kNothing;
    if ((object & kMessages) != 0 && !key.is_string()) held |= kMessage;
    if ((object & kMessage) != 0 && key.is_string() && key.text() == "content") held |= kContent;
    return held;
  }

  // The depth is bounded by the parser's bound on the height of expressions.
  unsigned Held(const Expr& expr) const {
    switch (expr.kind) {
      case ExprKind::kName:
        return holds_[At(expr.symbol)];
      case ExprKind::kFilter:
        return expr.parts[0] == nullptr ? kNothing : Held(*expr.parts[0]);
      case ExprKind::kSlice:
        return Held(*expr.parts[0]);
      case ExprKind::kAttribute:
        return HeldPart(Held(*expr.parts[0]), expr.value);
      case ExprKind::kItem:
        return HeldPart(Held(*expr.parts[0]), expr.parts[1]->kind == ExprKind::kConstant
                                                  ? expr.parts[1]->value
                                                  : Value());
      case ExprKind::kConditional:
        return Held(*expr.parts[1]) | (expr.parts[2] != nullptr ? Held(*expr.parts[2]) : kNothing);
      case ExprKind::kAnd:
      case ExprKind::kOr:
        return HeldByAny(expr);
      case ExprKind::kArithmetic:  // lists of messages are joined with +, texts as well
        return HeldByAny(expr) & kMessages;
      default:
        return kNothing;
    }
  }
  unsigned HeldByAny(const Expr& expr) const {
    unsigned held = kNothing;
    for (const Expr* part : expr.parts) held |= Held(*part);
    return held;
  }

  const Ast& ast_;
  std::vector<unsigned> holds_;  // by symbol
  std::map<int, const Macro*> macros_;
  bool changed_ = false;
  bool found_ = false;
};

}  // namespace

bool TakesContentParts(const Ast& ast) { return ContentFinder(ast).Run(); }

}  // namespace quire::jinja
