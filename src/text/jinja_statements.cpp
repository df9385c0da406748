// Statements, loops and macros of the interpreter.
#include <algorithm>
#include <utility>

#include "text/jinja_builtins.h"
#include "text/jinja_interpreter.h"
#include "text/jinja_interpreter_guards.h"
#include "text/jinja_operators.h"

namespace quire::jinja {

std::string Interpreter::Run() {
  std::string text;
  output_ = &text;
  Execute(ast_.body);
  output_ = nullptr;
  return text;
}

void Interpreter::Write(std::string_view text) {
  budget().StepBytes(text.size());
  if (output_->size() + text.size() > budget().limits().output_bytes)
    throw TemplateError("the template writes too much");
  if (capturing_) budget().Grow(text.size());
  output_->append(text);
}

std::string Interpreter::Capture(const Body& body, Scope* scope) {
  const ScopeGuard guard(*this, scope);
  std::string text;
  std::string* const outer = std::exchange(output_, &text);
  const bool outer_capturing = std::exchange(capturing_, true);
  Execute(body);
  output_ = outer;
  capturing_ = outer_capturing;
  budget().Shrink(text.size());
  return text;
}

Interpreter::Flow Interpreter::Execute(const Body& body) {
  for (const Stmt* statement : body) {
    const Flow flow = Execute(*statement);
    if (flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

Interpreter::Flow Interpreter::Execute(const Stmt& statement) {
  const DepthGuard depth(depth_, budget().limits().depth, "the template recurses too deeply");
  budget().Step();
  line_ = statement.line;
  switch (statement.kind) {
    case StmtKind::kText:
      Write(static_cast<const TextStmt&>(statement).text);
      break;
    case StmtKind::kOutput:
      Write(Print(heap_, Evaluate(*static_cast<const OutputStmt&>(statement).value)));
      break;
    case StmtKind::kIf:
      return ExecuteIf(static_cast<const IfStmt&>(statement));
    case StmtKind::kFor:
      return ExecuteFor(static_cast<const ForStmt&>(statement));
    case StmtKind::kSet: {
      const auto& set = static_cast<const SetStmt&>(statement);
      Assign(set.target, Evaluate(*set.value), *scope_);
      break;
    }
    case StmtKind::kSetBlock:
      ExecuteSetBlock(static_cast<const SetBlockStmt&>(statement));
      break;
    case StmtKind::kWith:
      return ExecuteWith(static_cast<const WithStmt&>(statement));
    case StmtKind::kMacro:
      ExecuteMacro(static_cast<const MacroStmt&>(statement));
      break;
    case StmtKind::kCallBlock:
      ExecuteCallBlock(static_cast<const CallBlockStmt&>(statement));
      break;
    case StmtKind::kFilterBlock:
      ExecuteFilterBlock(static_cast<const FilterBlockStmt&>(statement));
      break;
    case StmtKind::kScoped:
      return ExecuteScoped(static_cast<const ScopedStmt&>(statement));
    case StmtKind::kBreak:
      return Flow::kBreak;
    case StmtKind::kContinue:
      return Flow::kContinue;
  }
  return Flow::kNext;
}

Interpreter::Flow Interpreter::ExecuteIf(const IfStmt& statement) {
  for (const auto& [condition, body] : statement.branches)
    if (Evaluate(*condition).Truthy()) return Execute(body);
  return Execute(statement.otherwise);
}

Interpreter::Flow Interpreter::ExecuteFor(const ForStmt& statement) {
  const Value iterable = Evaluate(*statement.iterable);
  line_ = statement.line;
  return RunLoop(statement, iterable, scope_, 1);
}

std::vector<Value> Interpreter::FilterItems(const ForStmt& statement, std::vector<Value> items,
                                            Scope* scope) {
  const ScopeGuard guard(*this, scope);
  std::vector<Value> kept;
  for (Value& item : items) {
    scope->variables.clear();
    Assign(statement.target, item, *scope);
    if (Evaluate(*statement.filter).Truthy()) kept.push_back(std::move(item));
  }
  return kept;
}

// break and continue end here; those of the else branch are for the loop around this one.
Interpreter::Flow Interpreter::RunLoop(const ForStmt& statement, const Value& iterable,
                                       Scope* outside, int depth) {
  std::vector<Value> items = Iterate(heap_, iterable);
  Scope* scope = NewScope(outside);
  if (statement.filter != nullptr)
    items = FilterItems(statement, std::move(items), NewScope(outside));
  const ScopeGuard guard(*this, scope);
  if (items.empty()) return Execute(statement.otherwise);
  budget().Grow(items.size() * sizeof(Value));
  Loop* loop = heap_.New<Loop>();
  loop->statement = &statement;
  loop->outside = outside;
  loop->items = std::move(items);
  loop->depth = depth;
  for (; loop->index < loop->items.size(); ++loop->index) {
    budget().Step();
    scope->variables.clear();
    Assign(statement.target, loop->items[loop->index], *scope);
    scope->Set(kSymbolLoop, Value::Of(loop));
    if (Execute(statement.body) == Flow::kBreak) break;
  }
  return Flow::kNext;
}

Value Interpreter::CallLoop(Loop& loop, const Arguments& arguments) {
  if (!loop.statement->recursive)
    throw TemplateError("The loop must have the 'recursive' marker to be called recursively.");
  const Parameters parameters("loop", arguments, {"iterable"}, 1);
  const DepthGuard depth(call_depth_, budget().limits().call_depth, "a loop recurses too deeply");
  std::string text;
  std::string* const outer = std::exchange(output_, &text);
  const bool outer_capturing = std::exchange(capturing_, true);
  RunLoop(*loop.statement, parameters[0], loop.outside, loop.depth + 1);
  output_ = outer;
  capturing_ = outer_capturing;
  budget().Shrink(text.size());
  return heap_.NewString(std::move(text));
}

Interpreter::Flow Interpreter::ExecuteWith(const WithStmt& statement) {
  Scope* scope = NewScope(scope_);
  for (const auto& [target, value] : statement.bindings) Assign(target, Evaluate(*value), *scope);
  const ScopeGuard guard(*this, scope);
  return Execute(statement.body);
}

Interpreter::Flow Interpreter::ExecuteScoped(const ScopedStmt& statement) {
  const ScopeGuard guard(*this, NewScope(scope_));
  return Execute(statement.body);
}

void Interpreter::ExecuteSetBlock(const SetBlockStmt& statement) {
  std::string text = Capture(statement.body, NewScope(scope_));
  Assign(statement.target, ApplyFilters(statement.filters, std::move(text)), *scope_);
}

void Interpreter::ExecuteFilterBlock(const FilterBlockStmt& statement) {
  std::string text = Capture(statement.body, NewScope(scope_));
  Write(Print(heap_, ApplyFilters(statement.filters, std::move(text))));
}

Value Interpreter::NewMacro(const Macro& macro) {
  Callable* callable = heap_.New<Callable>();
  callable->name = macro.name->bytes;
  callable->macro = &macro;
  callable->scope = scope_;
  return Value::Of(callable);
}

void Interpreter::ExecuteMacro(const MacroStmt& statement) {
  scope_->Set(statement.macro.symbol, NewMacro(statement.macro));
}

void Interpreter::ExecuteCallBlock(const CallBlockStmt& statement) {
  const Value callee = Evaluate(*statement.call->parts[0]);
  Arguments arguments = EvaluateArguments(*statement.call);
  arguments.named.emplace_back("caller", NewMacro(statement.caller));
  Write(Print(heap_, Call(callee, arguments)));
}

Value Interpreter::CallMacro(const Callable& callable, const Arguments& arguments) {
  const DepthGuard depth(call_depth_, budget().limits().call_depth, "macros recurse too deeply");
  const int line = line_;
  Scope* scope = NewScope(callable.scope);
  BindParameters(*callable.macro, arguments, *scope);
  Value text = heap_.NewString(Capture(callable.macro->body, scope));
  line_ = line;
  return text;
}

void Interpreter::BindParameters(const Macro& macro, const Arguments& arguments, Scope& scope) {
  std::vector<bool> used(arguments.named.size(), false);
  budget().Step(macro.parameters.size() * (1 + arguments.named.size()));
  for (std::size_t i = 0; i < macro.parameters.size(); ++i) {
    const Macro::Parameter& parameter = macro.parameters[i];
    const auto named =
        std::find_if(arguments.named.begin(), arguments.named.end(),
                     [&](const auto& argument) { return argument.first == parameter.name->bytes; });
    Value value = Value::Undefined(Missing::kParameter, parameter.name);
    if (i < arguments.positional.size()) {
      value = arguments.positional[i];
    } else if (named != arguments.named.end()) {
      used[static_cast<std::size_t>(named - arguments.named.begin())] = true;
      value = named->second;
    } else if (parameter.fallback != nullptr) {
      const ScopeGuard guard(*this, &scope);  // a default may name the parameters before it
      value = Evaluate(*parameter.fallback);
    }
    scope.Set(parameter.symbol, std::move(value));
  }
  BindExtras(macro, arguments, used, scope);
}

void Interpreter::BindExtras(const Macro& macro, const Arguments& arguments,
                             const std::vector<bool>& used, Scope& scope) {
  const std::string name = "macro '" + macro.name->bytes + "'";
  const std::size_t count = macro.parameters.size();
  if (arguments.positional.size() > count && !macro.uses_varargs)
    throw TemplateError(name + " takes not more than " + std::to_string(count) + " argument(s)");
  if (macro.uses_varargs) {
    const std::size_t first = std::min(count, arguments.positional.size());
    scope.Set(kSymbolVarargs,
              heap_.NewTuple({arguments.positional.begin() + static_cast<std::ptrdiff_t>(first),
                              arguments.positional.end()}));
  }
  Dict* extra = macro.uses_kwargs ? heap_.New<Dict>() : nullptr;
  for (std::size_t i = 0; i < arguments.named.size(); ++i) {
    const auto& [key, value] = arguments.named[i];
    if (used[i]) continue;
    if (key == "caller" && macro.uses_caller) {
      scope.Set(kSymbolCaller, value);
    } else if (extra != nullptr) {
      SetItem(heap_, *extra, heap_.NewString(std::string(key)), value);
    } else {
      throw TemplateError(name + " takes no such keyword argument");
    }
  }
  if (extra != nullptr) scope.Set(kSymbolKwargs, Value::Of(extra));
}

void Interpreter::Assign(const Target& target, Value value, Scope& scope) {
  if (target.attribute != nullptr) {
    const Value* space = FindVariable(target.symbol);
    if (space == nullptr || !space->is(Kind::kNamespace))
      throw TemplateError("cannot assign attribute on non-namespace object");
    SetItem(heap_, space->space().attributes, Value::String(target.attribute), std::move(value));
    return;
  }
  if (target.parts.empty()) {
    scope.Set(target.symbol, std::move(value));
    return;
  }
  if (!IsIterable(value))
    throw TemplateError("cannot unpack non-iterable " + std::string(value.TypeName()) + " object");
  const std::vector<Value> items = Iterate(heap_, value);
  const std::string expected = "(expected " + std::to_string(target.parts.size());
  if (items.size() > target.parts.size())
    throw TemplateError("too many values to unpack " + expected + ")");
  if (items.size() < target.parts.size())
    throw TemplateError("not enough values to unpack " + expected + ", got " +
                        std::to_string(items.size()) + ")");
  for (std::size_t i = 0; i < items.size(); ++i) Assign(target.parts[i], items[i], scope);
}

}  // namespace quire::jinja
