// Runs a template: walks its syntax tree with the variables of one rendering.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja_ast.h"
#include "text/jinja_value.h"

namespace quire::jinja {

// What `loop` is inside a for loop.
struct Loop : Object {
  const ForStmt* statement = nullptr;
  Scope* outside = nullptr;  // where the loop stands, for recursive ones
  std::vector<Value> items;
  std::size_t index = 0;
  int depth = 1;
  std::vector<Value> last_changed;
  bool has_changed = false;
};

// Owns everything that one rendering makes. Used once, by one thread.
class Interpreter {
 public:
  Interpreter(const Ast& ast, const Limits& limits, std::chrono::system_clock::time_point now);
  Interpreter(const Interpreter&) = delete;
  Interpreter& operator=(const Interpreter&) = delete;

  Heap& heap() { return heap_; }
  Budget& budget() { return heap_.budget(); }
  std::chrono::system_clock::time_point now() const { return now_; }
  int line() const { return line_; }

  // Sets a variable of the template; a name that it never mentions is skipped.
  void SetGlobal(std::string_view name, Value value);
  bool Mentions(std::string_view name) const { return ast_.symbols().contains(name); }
  // Throws TemplateError.
  std::string Run();

  // For the built-in functions.
  Value Call(const Value& callee, const Arguments& arguments);
  Value CallMacro(const Callable& callable, const Arguments& arguments);
  Value CallLoop(Loop& loop, const Arguments& arguments);

 private:
  enum class Flow : std::uint8_t { kNext, kBreak, kContinue };

  class ScopeGuard;  // lets other variables be seen while it lives
  class DepthGuard;  // counts one level of a depth while it lives

  Value Evaluate(const Expr& expr);
  Value EvaluateName(const Expr& expr);
  Value EvaluateItems(const Expr& expr);
  Value EvaluateDict(const Expr& expr);
  Value EvaluateSlice(const Expr& expr);
  Value EvaluateCall(const Expr& expr);
  Value EvaluateFilter(const Expr& expr, Value input);
  bool EvaluateTest(const Expr& expr);
  Value EvaluateLogic(const Expr& expr);
  Value EvaluateArithmetic(const Expr& expr);
  Value EvaluateConcat(const Expr& expr);
  bool EvaluateCompare(const Expr& expr);
  Arguments EvaluateArguments(const Expr& expr);
  Value ApplyFilters(const std::vector<const Expr*>& filters, std::string text);

  Flow Execute(const Body& body);
  Flow Execute(const Stmt& statement);
  Flow ExecuteIf(const IfStmt& statement);
  Flow ExecuteFor(const ForStmt& statement);
  Flow ExecuteWith(const WithStmt& statement);
  void ExecuteSetBlock(const SetBlockStmt& statement);
  void ExecuteMacro(const MacroStmt& statement);
  void ExecuteCallBlock(const CallBlockStmt& statement);
  void ExecuteFilterBlock(const FilterBlockStmt& statement);
  Flow ExecuteScoped(const ScopedStmt& statement);
  Flow RunLoop(const ForStmt& statement, const Value& iterable, Scope* outside, int depth);
  std::vector<Value> FilterItems(const ForStmt& statement, std::vector<Value> items, Scope* scope);

  void BindParameters(const Macro& macro, const Arguments& arguments, Scope& scope);
  void BindExtras(const Macro& macro, const Arguments& arguments, const std::vector<bool>& used,
                  Scope& scope);
  void Assign(const Target& target, Value value, Scope& scope);
  const Value* FindVariable(int symbol) const;
  Scope* NewScope(Scope* parent);
  Value NewMacro(const Macro& macro);
  void Write(std::string_view text);
  // What the body writes, with the variables of `scope`.
  std::string Capture(const Body& body, Scope* scope);

  const Ast& ast_;
  Heap heap_;
  std::chrono::system_clock::time_point now_;
  Scope* scope_ = nullptr;
  std::string* output_ = nullptr;
  bool capturing_ = false;
  int depth_ = 0;
  int call_depth_ = 0;
  int line_ = 0;
};

}  // namespace quire::jinja
