// The syntax tree of a template. Immutable once parsed, shared by all renderings.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja_value.h"

namespace quire::jinja {

// What an Expr's `parts` are is said behind each kind.
enum class ExprKind : std::uint8_t {
  kConstant,   // -: `value`
  kName,       // -: `symbol`, `value` is its name
  kTuple,      // items
  kList,       // items
  kDict,       // key, value, key, value, …
  kAttribute,  // object: `value` is the attribute's name
  kItem,       // object, subscript
  kSlice,      // object, start, stop, step (each of the three may be null)
  kCall,       // callee, positional arguments …
  kFilter,  // input (null in a filter block), positional arguments …: `value` is the filter's name
  kTest,    // input, positional arguments …: `value` is the test's name
  kNot,     // operand
  kNegate,       // operand
  kPlus,         // operand
  kArithmetic,   // operands with `operators` between them, from left to right
  kConcat,       // operands of ~
  kAnd,          // operands
  kOr,           // operands
  kCompare,      // operands with `operators` between them, each pair must hold
  kConditional,  // condition, then, else (may be null)
};

enum class Operator : std::uint8_t {
  kAdd,
  kSubtract,
  kMultiply,
  kDivide,
  kFloorDivide,
  kModulo,
  kPower,
  kEqual,
  kNotEqual,
  kLess,
  kLessEqual,
  kGreater,
  kGreaterEqual,
  kIn,
  kNotIn
};

struct Expr {
  ExprKind kind = ExprKind::kConstant;
  int line = 0;
  int height = 1;  // of the tree below, bounds the evaluator's stack
  int symbol = -1;
  Value value;
  std::vector<const Expr*> parts;
  std::vector<Operator> operators;
  std::vector<std::pair<std::string_view, const Expr*>> keywords;  // of calls, filters, tests
  const Expr* star = nullptr;                                      // f(*star, **double_star)
  const Expr* double_star = nullptr;
  NativeFunction native = nullptr;  // of a filter or test; null where it does not exist
};

// What an assignment or a loop binds: a name, an attribute of a namespace, or a tuple of these.
struct Target {
  int symbol = -1;  // the name, or the namespace's
  const Text* name = nullptr;
  Text* attribute = nullptr;
  std::vector<Target> parts;  // of a tuple
};

enum class StmtKind : std::uint8_t {
  kText,
  kOutput,
  kIf,
  kFor,
  kSet,
  kSetBlock,
  kWith,
  kMacro,
  kCallBlock,
  kFilterBlock,
  kScoped,
  kBreak,
  kContinue
};

struct Stmt {
  explicit Stmt(StmtKind k) : kind(k) {}
  virtual ~Stmt() = default;

  StmtKind kind;
  int line = 0;
};

using Body = std::vector<const Stmt*>;

struct TextStmt : Stmt {
  TextStmt() : Stmt(StmtKind::kText) {}
  std::string text;
};

struct OutputStmt : Stmt {
  OutputStmt() : Stmt(StmtKind::kOutput) {}
  const Expr* value = nullptr;
};

struct IfStmt : Stmt {
  IfStmt() : Stmt(StmtKind::kIf) {}
  std::vector<std::pair<const Expr*, Body>> branches;
  Body otherwise;
};

struct ForStmt : Stmt {
  ForStmt() : Stmt(StmtKind::kFor) {}
  Target target;
  const Expr* iterable = nullptr;
  const Expr* filter = nullptr;  // may be null
  bool recursive = false;
  Body body;
  Body otherwise;
};

struct SetStmt : Stmt {
  SetStmt() : Stmt(StmtKind::kSet) {}
  Target target;
  const Expr* value = nullptr;
};

// {% set x | filters %}…{% endset %}
struct SetBlockStmt : Stmt {
  SetBlockStmt() : Stmt(StmtKind::kSetBlock) {}
  Target target;
  std::vector<const Expr*> filters;
  Body body;
};

struct WithStmt : Stmt {
  WithStmt() : Stmt(StmtKind::kWith) {}
  std::vector<std::pair<Target, const Expr*>> bindings;
  Body body;
};

// What a macro or the body of a call block is.
struct Macro {
  struct Parameter {
    int symbol = -1;
    const Text* name = nullptr;
    const Expr* fallback = nullptr;  // null where the parameter has none
  };
  int symbol = -1;
  const Text* name = nullptr;
  std::vector<Parameter> parameters;
  bool uses_varargs = false, uses_kwargs = false, uses_caller = false;
  Body body;
};

struct MacroStmt : Stmt {
  MacroStmt() : Stmt(StmtKind::kMacro) {}
  Macro macro;
};

struct CallBlockStmt : Stmt {
  CallBlockStmt() : Stmt(StmtKind::kCallBlock) {}
  const Expr* call = nullptr;
  Macro caller;
};

struct FilterBlockStmt : Stmt {
  FilterBlockStmt() : Stmt(StmtKind::kFilterBlock) {}
  std::vector<const Expr*> filters;
  Body body;
};

// {% generation %} and {% block %}: a scope of its own, nothing else.
struct ScopedStmt : Stmt {
  ScopedStmt() : Stmt(StmtKind::kScoped) {}
  Body body;
};

struct PlainStmt : Stmt {  // break and continue
  explicit PlainStmt(StmtKind k) : Stmt(k) {}
};

// Names that the interpreter itself knows have the first symbols.
enum KnownSymbol : int {
  kSymbolLoop,
  kSymbolVarargs,
  kSymbolKwargs,
  kSymbolCaller,
  kNumKnownSymbols
};

// Owns the syntax tree, its constants and its names.
class Ast {
 public:
  Ast();
  Ast(const Ast&) = delete;
  Ast& operator=(const Ast&) = delete;

  Expr* NewExpr(ExprKind kind, int line);
  template <class T>
  T* NewStmt(int line) {
    return Own(std::make_unique<T>(), line);
  }
  template <class T>
  T* Own(std::unique_ptr<T> stmt, int line) {
    T* result = stmt.get();
    result->line = line;
    statements_.push_back(std::move(stmt));
    return result;
  }
  Text* NewText(std::string bytes);  // a constant
  int Symbol(std::string_view name);
  const std::map<std::string, int, std::less<>>& symbols() const { return symbols_; }
  const Text* SymbolText(int symbol) const { return names_[static_cast<std::size_t>(symbol)]; }
  const std::vector<std::unique_ptr<Stmt>>& statements() const { return statements_; }
  const std::vector<std::unique_ptr<Expr>>& expressions() const { return expressions_; }

  Body body;

 private:
  std::vector<std::unique_ptr<Text>> texts_;  // outlives the values in expressions
  std::vector<std::unique_ptr<Expr>> expressions_;
  std::vector<std::unique_ptr<Stmt>> statements_;
  std::map<std::string, int, std::less<>> symbols_;
  std::vector<const Text*> names_;
};

}  // namespace quire::jinja
