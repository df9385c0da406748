#include "text/jinja_ast.h"

namespace quire::jinja {

Ast::Ast() {
  for (const char* name : {"loop", "varargs", "kwargs", "caller"}) Symbol(name);
}

Expr* Ast::NewExpr(ExprKind kind, int line) {
  expressions_.push_back(std::make_unique<Expr>());
  Expr* expr = expressions_.back().get();
  expr->kind = kind;
  expr->line = line;
  return expr;
}

Text* Ast::NewText(std::string bytes) {
  texts_.push_back(std::make_unique<Text>());
  texts_.back()->bytes = std::move(bytes);
  return texts_.back().get();
}

int Ast::Symbol(std::string_view name) {
  const auto found = symbols_.find(name);
  if (found != symbols_.end()) return found->second;
  const int symbol = static_cast<int>(names_.size());
  names_.push_back(NewText(std::string(name)));
  symbols_.emplace(name, symbol);
  return symbol;
}

}  // namespace quire::jinja
