// The expression half of the parser, over a stream of tokens.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja_ast.h"
#include "text/jinja_lexer.h"

namespace quire::jinja {

// Reads expressions by recursive descent with a bounded depth; owns the tokens, not the tree.
class ExpressionParser {
 public:
  ExpressionParser(std::vector<Token> tokens, Ast& ast) : ast_(ast), tokens_(std::move(tokens)) {}

 protected:
  // Counts one level of nesting while it lives.
  class Nesting {
   public:
    explicit Nesting(ExpressionParser& parser);
    Nesting(const Nesting&) = delete;
    Nesting& operator=(const Nesting&) = delete;
    ~Nesting() { --parser_.depth_; }

   private:
    ExpressionParser& parser_;
  };

  const Token& Peek(std::size_t ahead = 0) const;
  const Token& Take();
  bool IsOperator(std::string_view op, std::size_t ahead = 0) const;
  bool IsName(std::string_view name, std::size_t ahead = 0) const;
  bool SkipOperator(std::string_view op);
  bool SkipName(std::string_view name);
  void ExpectOperator(std::string_view op);
  void ExpectName(std::string_view name);
  std::string TakeName();
  [[noreturn]] void Fail(std::string message) const;

  const Expr* ParseExpression(bool with_conditional = true);
  // Expressions with commas between them become a tuple; `end` are names that end it besides the
  // usual.
  const Expr* ParseTuple(bool with_conditional, bool may_be_empty);
  const Expr* ParsePrimary();
  // Filters with the input left open, as filter blocks have them: name(args)|name…
  std::vector<const Expr*> ParseOpenFilters();
  // One assignment target, or a tuple of them.
  Target ParseTarget(bool with_namespace);
  const Expr* ParseCall(const Expr* callee);
  const Expr* ParsePostfix(const Expr* expr);
  // Sets the height from the parts; fails where the tree gets too deep.
  const Expr* Finish(Expr* expr);

  Ast& ast_;
  int soft_ = 0;                // inside conditions: a filter may be missing until it is reached
  std::vector<Macro*> macros_;  // that are being read, innermost last

 private:
  const Expr* ParseOr();
  const Expr* ParseAnd();
  const Expr* ParseNot();
  const Expr* ParseCompare();
  const Expr* ParseSum();
  const Expr* ParseConcat();
  const Expr* ParseProduct();
  const Expr* ParsePower();
  const Expr* ParseUnary(bool with_filters = true);
  const Expr* ParseFilters(const Expr* expr);
  const Expr* ParseFilter(const Expr* input);
  const Expr* ParseTest(const Expr* input);
  const Expr* ParseSubscript(const Expr* object);
  const Expr* ParseSubscripted(const Expr* object);
  const Expr* ParseNameOrConstant();
  const Expr* ParseNumber();
  const Expr* ParseString();
  const Expr* ParseList();
  const Expr* ParseDict();
  Target ParseOneTarget(bool with_namespace);
  void ParseArguments(Expr& call);
  bool AtTupleEnd() const;
  const Expr* ParseLevel(const Expr* (ExpressionParser::*operand)(),
                         std::initializer_list<std::pair<std::string_view, Operator>> operators);
  const Expr* Constant(Value value, int line);

  std::vector<Token> tokens_;
  std::size_t position_ = 0;
  int depth_ = 0;
};

}  // namespace quire::jinja
