// Expressions; statements are in jinja_statements.cpp.
#include "text/jinja_interpreter.h"

#include <algorithm>
#include <utility>

#include "text/jinja_builtins.h"
#include "text/jinja_interpreter_guards.h"
#include "text/jinja_operators.h"

namespace quire::jinja {

Interpreter::Interpreter(const Ast& ast, const Limits& limits,
                         std::chrono::system_clock::time_point now)
    : ast_(ast), heap_(limits), now_(now) {
  scope_ = NewScope(nullptr);
  for (const auto& [name, symbol] : ast_.symbols()) {
    const NativeFunction native = FindFunction(name);
    if (native != nullptr) scope_->Set(symbol, Value::Of(heap_.NewMethod(name, native, Value())));
  }
}

void Interpreter::SetGlobal(std::string_view name, Value value) {
  const auto found = ast_.symbols().find(name);
  if (found != ast_.symbols().end()) scope_->Set(found->second, std::move(value));
}

Scope* Interpreter::NewScope(Scope* parent) {
  Scope* scope = heap_.New<Scope>();
  scope->parent = parent;
  return scope;
}

const Value* Interpreter::FindVariable(int symbol) const {
  for (const Scope* scope = scope_; scope != nullptr; scope = scope->parent)
    if (const Value* value = scope->FindHere(symbol)) return value;
  return nullptr;
}

Value Interpreter::Evaluate(const Expr& expr) {
  const DepthGuard depth(depth_, budget().limits().depth, "the template recurses too deeply");
  budget().Step();
  line_ = expr.line;
  switch (expr.kind) {
    case ExprKind::kConstant:
      return expr.value;
    case ExprKind::kName:
      return EvaluateName(expr);
    case ExprKind::kTuple:
    case ExprKind::kList:
      return EvaluateItems(expr);
    case ExprKind::kDict:
      return EvaluateDict(expr);
    case ExprKind::kAttribute: {
      const Value object = Evaluate(*expr.parts[0]);
      line_ = expr.line;
      return GetAttribute(heap_, object, *expr.value.text_object());
    }
    case ExprKind::kItem: {
      const Value object = Evaluate(*expr.parts[0]);
      const Value key = Evaluate(*expr.parts[1]);
      line_ = expr.line;
      return GetItem(heap_, object, key);
    }
    case ExprKind::kSlice:
      return EvaluateSlice(expr);
    case ExprKind::kCall:
      return EvaluateCall(expr);
    case ExprKind::kFilter:
      return EvaluateFilter(expr, Evaluate(*expr.parts[0]));
    case ExprKind::kTest:
      return Value::Bool(EvaluateTest(expr));
    case ExprKind::kNot:
      return Value::Bool(!Evaluate(*expr.parts[0]).Truthy());
    case ExprKind::kNegate:
      return Negate(Evaluate(*expr.parts[0]));
    case ExprKind::kPlus:
      return Negate(Negate(Evaluate(*expr.parts[0])));
    case ExprKind::kArithmetic:
      return EvaluateArithmetic(expr);
    case ExprKind::kConcat:
      return EvaluateConcat(expr);
    case ExprKind::kAnd:
    case ExprKind::kOr:
      return EvaluateLogic(expr);
    case ExprKind::kCompare:
      return Value::Bool(EvaluateCompare(expr));
    case ExprKind::kConditional:
      break;
  }
  if (Evaluate(*expr.parts[0]).Truthy()) return Evaluate(*expr.parts[1]);
  return expr.parts[2] != nullptr ? Evaluate(*expr.parts[2])
                                  : Value::Undefined(Missing::kCondition);
}

Value Interpreter::EvaluateName(const Expr& expr) {
  const Value* value = FindVariable(expr.symbol);
  return value != nullptr ? *value : Value::Undefined(Missing::kName, expr.value.text_object());
}

Value Interpreter::EvaluateItems(const Expr& expr) {
  std::vector<Value> items;
  items.reserve(expr.parts.size());
  for (const Expr* part : expr.parts) items.push_back(Evaluate(*part));
  return expr.kind == ExprKind::kList ? heap_.NewList(std::move(items))
                                      : heap_.NewTuple(std::move(items));
}

Value Interpreter::EvaluateDict(const Expr& expr) {
  Dict* dict = heap_.New<Dict>();
  for (std::size_t i = 0; i < expr.parts.size(); i += 2) {
    Value key = Evaluate(*expr.parts[i]);
    SetItem(heap_, *dict, std::move(key), Evaluate(*expr.parts[i + 1]));
  }
  return Value::Of(dict);
}

Value Interpreter::EvaluateSlice(const Expr& expr) {
  const Value object = Evaluate(*expr.parts[0]);
  Value bounds[3];
  for (std::size_t i = 0; i < 3; ++i)
    bounds[i] = expr.parts[i + 1] != nullptr ? Evaluate(*expr.parts[i + 1]) : Value::None();
  line_ = expr.line;
  return GetSlice(heap_, object, bounds[0], bounds[1], bounds[2]);
}

Arguments Interpreter::EvaluateArguments(const Expr& expr) {
  Arguments arguments;
  arguments.positional.reserve(expr.parts.size() - 1);
  for (std::size_t i = 1; i < expr.parts.size(); ++i)
    arguments.positional.push_back(Evaluate(*expr.parts[i]));
  if (expr.star != nullptr)
    for (Value& item : Iterate(heap_, Evaluate(*expr.star)))
      arguments.positional.push_back(std::move(item));
  for (const auto& [name, value] : expr.keywords)
    arguments.named.emplace_back(name, Evaluate(*value));
  if (expr.double_star != nullptr) {
    const Value more = Evaluate(*expr.double_star);
    if (!more.is_dict()) throw TemplateError("argument after ** must be a mapping");
    budget().Step(1 + more.dict().entries.size());
    for (const auto& [key, value] : more.dict().entries) {
      if (!key.is_string()) throw TemplateError("keywords must be strings");
      arguments.named.emplace_back(key.text(), value);
    }
  }
  line_ = expr.line;
  return arguments;
}

Value Interpreter::EvaluateCall(const Expr& expr) {
  const Expr& callee = *expr.parts[0];
  if (callee.kind != ExprKind::kAttribute) {
    const Value function = Evaluate(callee);
    return Call(function, EvaluateArguments(expr));
  }
  const Value object = Evaluate(*callee.parts[0]);
  line_ = expr.line;
  const Text& name = *callee.value.text_object();
  const Builtin method = FindMethod(object, name.bytes);  // spares making a bound method
  if (method.native != nullptr) return method.native(*this, object, EvaluateArguments(expr));
  const Value function = GetAttribute(heap_, object, name);
  return Call(function, EvaluateArguments(expr));
}

Value Interpreter::Call(const Value& callee, const Arguments& arguments) {
  if (callee.is_undefined()) FailUndefined(callee);
  if (callee.is(Kind::kLoop)) return CallLoop(callee.loop(), arguments);
  if (!callee.is(Kind::kCallable))
    throw TemplateError("'" + std::string(callee.TypeName()) + "' object is not callable");
  const Callable& callable = callee.callable();
  if (callable.native != nullptr) return callable.native(*this, callable.self, arguments);
  return CallMacro(callable, arguments);
}

Value Interpreter::EvaluateFilter(const Expr& expr, Value input) {
  if (expr.native == nullptr)
    throw TemplateError("No filter named '" + expr.value.text() + "' found.");
  const Arguments arguments = EvaluateArguments(expr);
  return expr.native(*this, input, arguments);
}

Value Interpreter::ApplyFilters(const std::vector<const Expr*>& filters, std::string text) {
  Value value = heap_.NewString(std::move(text));
  for (const Expr* filter : filters) {
    line_ = filter->line;
    value = EvaluateFilter(*filter, std::move(value));
  }
  return value;
}

bool Interpreter::EvaluateTest(const Expr& expr) {
  if (expr.native == nullptr)
    throw TemplateError("No test named '" + expr.value.text() + "' found.");
  const Value input = Evaluate(*expr.parts[0]);
  const Arguments arguments = EvaluateArguments(expr);
  return expr.native(*this, input, arguments).Truthy();
}

Value Interpreter::EvaluateLogic(const Expr& expr) {
  Value value;
  for (const Expr* part : expr.parts) {
    value = Evaluate(*part);
    if (value.Truthy() == (expr.kind == ExprKind::kOr)) break;
  }
  return value;
}

Value Interpreter::EvaluateArithmetic(const Expr& expr) {
  Value value = Evaluate(*expr.parts[0]);
  for (std::size_t i = 1; i < expr.parts.size(); ++i) {
    const Value right = Evaluate(*expr.parts[i]);
    line_ = expr.line;
    value = Arithmetic(heap_, expr.operators[i - 1], value, right);
  }
  return value;
}

Value Interpreter::EvaluateConcat(const Expr& expr) {
  std::string text;
  for (const Expr* part : expr.parts) {
    text += Print(heap_, Evaluate(*part));
    budget().Require(text.size());
  }
  return heap_.NewString(std::move(text));
}

bool Interpreter::EvaluateCompare(const Expr& expr) {
  Value left = Evaluate(*expr.parts[0]);
  for (std::size_t i = 1; i < expr.parts.size(); ++i) {
    Value right = Evaluate(*expr.parts[i]);
    line_ = expr.line;
    if (!Compare(heap_, expr.operators[i - 1], left, right)) return false;
    left = std::move(right);
  }
  return true;
}

}  // namespace quire::jinja
