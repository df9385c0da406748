#include "text/jinja_expression_parser.h"

#include <algorithm>
#include <charconv>

#include "text/jinja_builtins.h"
#include "text/jinja_strings.h"

namespace quire::jinja {
namespace {

constexpr int kMaxDepth = 100;  // of nested brackets and blocks, and of the tree of one expression

}  // namespace

ExpressionParser::Nesting::Nesting(ExpressionParser& parser) : parser_(parser) {
  if (parser_.depth_ >= kMaxDepth) parser_.Fail("the template is nested too deeply");
  ++parser_.depth_;
}

const Token& ExpressionParser::Peek(std::size_t ahead) const {
  return tokens_[std::min(position_ + ahead, tokens_.size() - 1)];
}

const Token& ExpressionParser::Take() {
  const Token& token = Peek();
  if (position_ + 1 < tokens_.size()) ++position_;
  return token;
}

bool ExpressionParser::IsOperator(std::string_view op, std::size_t ahead) const {
  return Peek(ahead).type == TokenType::kOperator && Peek(ahead).text == op;
}

bool ExpressionParser::IsName(std::string_view name, std::size_t ahead) const {
  return Peek(ahead).type == TokenType::kName && Peek(ahead).text == name;
}

bool ExpressionParser::SkipOperator(std::string_view op) {
  const bool found = IsOperator(op);
  if (found) Take();
  return found;
}

bool ExpressionParser::SkipName(std::string_view name) {
  const bool found = IsName(name);
  if (found) Take();
  return found;
}

void ExpressionParser::ExpectOperator(std::string_view op) {
  if (!SkipOperator(op)) Fail("expected '" + std::string(op) + "'");
}

void ExpressionParser::ExpectName(std::string_view name) {
  if (!SkipName(name)) Fail("expected '" + std::string(name) + "'");
}

std::string ExpressionParser::TakeName() {
  if (Peek().type != TokenType::kName) Fail("expected a name");
  return Take().text;
}

void ExpressionParser::Fail(std::string message) const {
  throw TemplateError(std::move(message), Peek().line);
}

const Expr* ExpressionParser::Finish(Expr* expr) {
  int height = 0;
  const auto see = [&height](const Expr* part) {
    if (part != nullptr) height = std::max(height, part->height);
  };
  for (const Expr* part : expr->parts) see(part);
  for (const auto& [name, part] : expr->keywords) see(part);
  see(expr->star);
  see(expr->double_star);
  expr->height = height + 1;
  if (expr->height > kMaxDepth) Fail("an expression is nested too deeply");
  return expr;
}

const Expr* ExpressionParser::Constant(Value value, int line) {
  Expr* expr = ast_.NewExpr(ExprKind::kConstant, line);
  expr->value = std::move(value);
  return expr;
}

const Expr* ExpressionParser::ParseExpression(bool with_conditional) {
  const Nesting nesting(*this);
  const Expr* expr = ParseOr();
  while (with_conditional && IsName("if")) {
    Expr* conditional = ast_.NewExpr(ExprKind::kConditional, Take().line);
    ++soft_;
    const Expr* condition = ParseOr();
    const Expr* otherwise = SkipName("else") ? ParseExpression() : nullptr;
    --soft_;
    conditional->parts = {condition, expr, otherwise};
    expr = Finish(conditional);
  }
  return expr;
}

const Expr* ExpressionParser::ParseOr() {
  const Expr* first = ParseAnd();
  if (!IsName("or")) return first;
  Expr* expr = ast_.NewExpr(ExprKind::kOr, Peek().line);
  expr->parts.push_back(first);
  while (SkipName("or")) expr->parts.push_back(ParseAnd());
  return Finish(expr);
}

const Expr* ExpressionParser::ParseAnd() {
  const Expr* first = ParseNot();
  if (!IsName("and")) return first;
  Expr* expr = ast_.NewExpr(ExprKind::kAnd, Peek().line);
  expr->parts.push_back(first);
  while (SkipName("and")) expr->parts.push_back(ParseNot());
  return Finish(expr);
}

const Expr* ExpressionParser::ParseNot() {
  if (!IsName("not")) return ParseCompare();
  const Nesting nesting(*this);
  Expr* expr = ast_.NewExpr(ExprKind::kNot, Take().line);
  expr->parts = {ParseNot()};
  return Finish(expr);
}

const Expr* ExpressionParser::ParseCompare() {
  constexpr std::pair<std::string_view, Operator> kOperators[] = {
      {"==", Operator::kEqual},     {"!=", Operator::kNotEqual}, {"<", Operator::kLess},
      {"<=", Operator::kLessEqual}, {">", Operator::kGreater},   {">=", Operator::kGreaterEqual}};
  const Expr* first = ParseSum();
  Expr* expr = nullptr;
  while (true) {
    const int line = Peek().line;
    std::vector<Operator> found;
    for (const auto& [text, op] : kOperators)
      if (found.empty() && SkipOperator(text)) found.push_back(op);
    if (found.empty() && SkipName("in")) found.push_back(Operator::kIn);
    if (found.empty() && IsName("not") && IsName("in", 1)) {
      Take();
      Take();
      found.push_back(Operator::kNotIn);
    }
    if (found.empty()) break;
    if (expr == nullptr) {
      expr = ast_.NewExpr(ExprKind::kCompare, line);
      expr->parts.push_back(first);
    }
    expr->operators.push_back(found.front());
    expr->parts.push_back(ParseSum());
  }
  return expr == nullptr ? first : Finish(expr);
}

const Expr* ExpressionParser::ParseLevel(
    const Expr* (ExpressionParser::*operand)(),
    std::initializer_list<std::pair<std::string_view, Operator>> operators) {
  const Expr* first = (this->*operand)();
  Expr* expr = nullptr;
  while (true) {
    const auto found = std::find_if(operators.begin(), operators.end(),
                                    [this](const auto& op) { return IsOperator(op.first); });
    if (found == operators.end()) break;
    if (expr == nullptr) {
      expr = ast_.NewExpr(ExprKind::kArithmetic, Peek().line);
      expr->parts.push_back(first);
    }
    Take();
    expr->operators.push_back(found->second);
    expr->parts.push_back((this->*operand)());
  }
  return expr == nullptr ? first : Finish(expr);
}

const Expr* ExpressionParser::ParseSum() {
  return ParseLevel(&ExpressionParser::ParseConcat,
                    {{"+", Operator::kAdd}, {"-", Operator::kSubtract}});
}

const Expr* ExpressionParser::ParseConcat() {
  const Expr* first = ParseProduct();
  if (!IsOperator("~")) return first;
  Expr* expr = ast_.NewExpr(ExprKind::kConcat, Peek().line);
  expr->parts.push_back(first);
  while (SkipOperator("~")) expr->parts.push_back(ParseProduct());
  return Finish(expr);
}

const Expr* ExpressionParser::ParseProduct() {
  return ParseLevel(&ExpressionParser::ParsePower, {{"*", Operator::kMultiply},
                                                    {"/", Operator::kDivide},
                                                    {"//", Operator::kFloorDivide},
                                                    {"%", Operator::kModulo}});
}

const Expr* ExpressionParser::ParsePower() {
  const Expr* first = ParseUnary();
  if (!IsOperator("**")) return first;
  Expr* expr = ast_.NewExpr(ExprKind::kArithmetic, Peek().line);
  expr->parts.push_back(first);
  while (SkipOperator("**")) {
    expr->operators.push_back(Operator::kPower);
    expr->parts.push_back(ParseUnary());
  }
  return Finish(expr);
}

const Expr* ExpressionParser::ParseUnary(bool with_filters) {
  const Expr* expr = nullptr;
  if (IsOperator("-") || IsOperator("+")) {
    const Nesting nesting(*this);
    const bool negate = IsOperator("-");
    Expr* unary = ast_.NewExpr(negate ? ExprKind::kNegate : ExprKind::kPlus, Take().line);
    unary->parts = {ParseUnary(false)};
    expr = Finish(unary);
  } else {
    expr = ParsePrimary();
  }
  expr = ParsePostfix(expr);
  return with_filters ? ParseFilters(expr) : expr;
}

const Expr* ExpressionParser::ParsePostfix(const Expr* expr) {
  while (true) {
    if (IsOperator(".") || IsOperator("[")) {
      expr = ParseSubscript(expr);
    } else if (IsOperator("(")) {
      expr = ParseCall(expr);
    } else {
      return expr;
    }
  }
}

const Expr* ExpressionParser::ParseFilters(const Expr* expr) {
  while (true) {
    if (SkipOperator("|")) {
      expr = ParseFilter(expr);
    } else if (IsName("is")) {
      expr = ParseTest(expr);
    } else if (IsOperator("(")) {
      expr = ParseCall(expr);
    } else {
      return expr;
    }
  }
}

const Expr* ExpressionParser::ParseFilter(const Expr* input) {
  Expr* expr = ast_.NewExpr(ExprKind::kFilter, Peek().line);
  std::string name = TakeName();
  while (SkipOperator(".")) name += "." + TakeName();
  expr->native = FindFilter(name);
  if (expr->native == nullptr && soft_ == 0) Fail("No filter named '" + name + "'.");
  expr->value = Value::String(ast_.NewText(std::move(name)));
  expr->parts.push_back(input);
  if (IsOperator("(")) ParseArguments(*expr);
  return Finish(expr);
}

std::vector<const Expr*> ExpressionParser::ParseOpenFilters() {
  std::vector<const Expr*> filters;
  do filters.push_back(ParseFilter(nullptr));
  while (SkipOperator("|"));
  return filters;
}

const Expr* ExpressionParser::ParseTest(const Expr* input) {
  Expr* expr = ast_.NewExpr(ExprKind::kTest, Take().line);
  const bool negated = SkipName("not");
  std::string name = TakeName();
  while (SkipOperator(".")) name += "." + TakeName();
  expr->native = FindTest(name);
  if (expr->native == nullptr && soft_ == 0) Fail("No test named '" + name + "'.");
  expr->value = Value::String(ast_.NewText(std::move(name)));
  expr->parts.push_back(input);
  const TokenType next = Peek().type;
  const bool ends = IsName("else") || IsName("or") || IsName("and") || IsName("if");
  if (IsOperator("(")) {
    ParseArguments(*expr);
  } else if ((next == TokenType::kName && !ends) || next == TokenType::kString ||
             next == TokenType::kInteger || next == TokenType::kFloat || IsOperator("[") ||
             IsOperator("{")) {
    if (IsName("is")) Fail("You cannot chain multiple tests with is");
    expr->parts.push_back(ParsePostfix(ParsePrimary()));
  }
  if (!negated) return Finish(expr);
  Expr* inverted = ast_.NewExpr(ExprKind::kNot, expr->line);
  inverted->parts = {Finish(expr)};
  return Finish(inverted);
}

const Expr* ExpressionParser::ParseSubscript(const Expr* object) {
  const Token& token = Take();
  if (token.text == "[") {
    const Expr* expr = ParseSubscripted(object);
    ExpectOperator("]");
    return expr;
  }
  if (Peek().type == TokenType::kName) {
    Expr* expr = ast_.NewExpr(ExprKind::kAttribute, token.line);
    expr->parts = {object};
    expr->value = Value::String(ast_.NewText(Take().text));
    return Finish(expr);
  }
  if (Peek().type != TokenType::kInteger) Fail("expected name or number");
  Expr* expr = ast_.NewExpr(ExprKind::kItem, token.line);
  expr->parts = {object, ParseNumber()};
  return Finish(expr);
}

const Expr* ExpressionParser::ParseSubscripted(const Expr* object) {
  const int line = Peek().line;
  const Expr* start = IsOperator(":") ? nullptr : ParseExpression();
  if (!IsOperator(":")) {
    Expr* expr = ast_.NewExpr(ExprKind::kItem, line);
    if (IsOperator(",")) {
      Expr* tuple = ast_.NewExpr(ExprKind::kTuple, line);
      tuple->parts.push_back(start);
      while (SkipOperator(",")) tuple->parts.push_back(ParseExpression());
      start = Finish(tuple);
    }
    expr->parts = {object, start};
    return Finish(expr);
  }
  Expr* slice = ast_.NewExpr(ExprKind::kSlice, line);
  slice->parts = {object, start, nullptr, nullptr};
  for (std::size_t i = 2; i < 4 && SkipOperator(":"); ++i)
    if (!IsOperator(":") && !IsOperator("]")) slice->parts[i] = ParseExpression();
  return Finish(slice);
}

const Expr* ExpressionParser::ParseCall(const Expr* callee) {
  Expr* expr = ast_.NewExpr(ExprKind::kCall, Peek().line);
  expr->parts.push_back(callee);
  ParseArguments(*expr);
  return Finish(expr);
}

void ExpressionParser::ParseArguments(Expr& call) {
  ExpectOperator("(");
  bool first = true;
  while (!IsOperator(")")) {
    if (!first) {
      ExpectOperator(",");
      if (IsOperator(")")) break;
    }
    first = false;
    if (SkipOperator("*")) {
      if (call.star != nullptr || call.double_star != nullptr)
        Fail("invalid syntax for function call");
      call.star = ParseExpression();
    } else if (SkipOperator("**")) {
      if (call.double_star != nullptr) Fail("invalid syntax for function call");
      call.double_star = ParseExpression();
    } else if (Peek().type == TokenType::kName && IsOperator("=", 1)) {
      const std::string_view name = ast_.NewText(Take().text)->bytes;
      Take();
      if (call.double_star != nullptr) Fail("invalid syntax for function call");
      call.keywords.emplace_back(name, ParseExpression());
    } else {
      if (call.star != nullptr || call.double_star != nullptr || !call.keywords.empty())
        Fail("invalid syntax for function call");
      call.parts.push_back(ParseExpression());
    }
  }
  ExpectOperator(")");
}

const Expr* ExpressionParser::ParsePrimary() {
  switch (Peek().type) {
    case TokenType::kName:
      return ParseNameOrConstant();
    case TokenType::kString:
      return ParseString();
    case TokenType::kInteger:
    case TokenType::kFloat:
      return ParseNumber();
    default:
      break;
  }
  if (IsOperator("[")) return ParseList();
  if (IsOperator("{")) return ParseDict();
  if (!SkipOperator("(")) Fail("unexpected token, expected an expression");
  const Expr* expr = ParseTuple(true, true);
  ExpectOperator(")");
  return expr;
}

const Expr* ExpressionParser::ParseNameOrConstant() {
  const Token& token = Take();
  const std::string& name = token.text;
  if (name == "true" || name == "True") return Constant(Value::Bool(true), token.line);
  if (name == "false" || name == "False") return Constant(Value::Bool(false), token.line);
  if (name == "none" || name == "None") return Constant(Value::None(), token.line);
  Expr* expr = ast_.NewExpr(ExprKind::kName, token.line);
  expr->symbol = ast_.Symbol(name);
  Text* text = ast_.NewText(name);
  expr->value = Value::String(text);
  if (!macros_.empty()) {
    macros_.back()->uses_varargs |= expr->symbol == kSymbolVarargs;
    macros_.back()->uses_kwargs |= expr->symbol == kSymbolKwargs;
    macros_.back()->uses_caller |= expr->symbol == kSymbolCaller;
  }
  return expr;
}

const Expr* ExpressionParser::ParseString() {
  const int line = Peek().line;
  std::string text;
  while (Peek().type == TokenType::kString) text += Take().text;
  return Constant(Value::String(ast_.NewText(std::move(text))), line);
}

const Expr* ExpressionParser::ParseNumber() {
  const Token& token = Take();
  if (token.type == TokenType::kFloat)
    return Constant(Value::Float(ParseFloat(token.text).value_or(0.0)), token.line);
  std::int64_t value = 0;
  const char* end = token.text.data() + token.text.size();
  if (std::from_chars(token.text.data(), end, value).ec != std::errc()) Fail("integer too large");
  return Constant(Value::Int(value), token.line);
}

const Expr* ExpressionParser::ParseList() {
  Expr* expr = ast_.NewExpr(ExprKind::kList, Take().line);
  while (!IsOperator("]")) {
    if (!expr->parts.empty()) ExpectOperator(",");
    if (IsOperator("]")) break;
    expr->parts.push_back(ParseExpression());
  }
  ExpectOperator("]");
  return Finish(expr);
}

const Expr* ExpressionParser::ParseDict() {
  Expr* expr = ast_.NewExpr(ExprKind::kDict, Take().line);
  while (!IsOperator("}")) {
    if (!expr->parts.empty()) ExpectOperator(",");
    if (IsOperator("}")) break;
    expr->parts.push_back(ParseExpression());
    ExpectOperator(":");
    expr->parts.push_back(ParseExpression());
  }
  ExpectOperator("}");
  return Finish(expr);
}

bool ExpressionParser::AtTupleEnd() const {
  const TokenType type = Peek().type;
  return type == TokenType::kPrintEnd || type == TokenType::kBlockEnd || IsOperator(")");
}

const Expr* ExpressionParser::ParseTuple(bool with_conditional, bool may_be_empty) {
  const int line = Peek().line;
  std::vector<const Expr*> items;
  bool is_tuple = false;
  while (!AtTupleEnd()) {
    items.push_back(ParseExpression(with_conditional));
    if (!SkipOperator(",")) break;
    is_tuple = true;
  }
  if (!is_tuple && !items.empty()) return items.front();
  if (!is_tuple && !may_be_empty) Fail("Expected an expression");
  Expr* expr = ast_.NewExpr(ExprKind::kTuple, line);
  expr->parts = std::move(items);
  return Finish(expr);
}

Target ExpressionParser::ParseOneTarget(bool with_namespace) {
  if (SkipOperator("(")) {
    const Nesting nesting(*this);
    Target target = ParseTarget(with_namespace);
    ExpectOperator(")");
    return target;
  }
  Target target;
  const std::string name = TakeName();
  if (name == "true" || name == "false" || name == "none" || name == "True" || name == "False" ||
      name == "None")
    Fail("can't assign to a constant");
  target.symbol = ast_.Symbol(name);
  target.name = ast_.SymbolText(target.symbol);
  if (with_namespace && SkipOperator(".")) target.attribute = ast_.NewText(TakeName());
  return target;
}

Target ExpressionParser::ParseTarget(bool with_namespace) {
  Target first = ParseOneTarget(with_namespace);
  if (!IsOperator(",")) return first;
  Target tuple;
  tuple.parts.push_back(std::move(first));
  while (SkipOperator(",")) {
    if (IsName("in") || IsOperator("=") || IsOperator(")")) break;
    tuple.parts.push_back(ParseOneTarget(with_namespace));
  }
  return tuple;
}

}  // namespace quire::jinja
