#include "text/jinja_parser.h"

#include <utility>

#include "base/utf8.h"
#include "text/jinja_expression_parser.h"
#include "text/jinja_lexer.h"

namespace quire::jinja {
namespace {

constexpr std::size_t kMaxSourceBytes = std::size_t{256} << 10;

// Reads statements; what ends a body is known to the statement that began it.
class Parser : public ExpressionParser {
 public:
  using ExpressionParser::ExpressionParser;

  void Run() {
    ast_.body = ParseBody({});
    if (Peek().type != TokenType::kEnd) Fail("unexpected '" + Peek(1).text + "'");
  }

 private:
  // Up to the end, or the block tag that is one of `ends`, whose {% has then been taken.
  Body ParseBody(std::initializer_list<std::string_view> ends) {
    const Nesting nesting(*this);
    Body body;
    while (Peek().type != TokenType::kEnd) {
      const Token& token = Take();
      const int line = token.line;
      switch (token.type) {
        case TokenType::kText: {
          auto* text = ast_.NewStmt<TextStmt>(line);
          text->text = token.text;
          body.push_back(text);
          break;
        }
        case TokenType::kPrintBegin: {
          auto* output = ast_.NewStmt<OutputStmt>(line);
          output->value = ParseTuple(true, false);
          if (Take().type != TokenType::kPrintEnd) Fail("expected the end of the print tag");
          body.push_back(output);
          break;
        }
        default: {
          for (const std::string_view end : ends)
            if (IsName(end)) return body;
          body.push_back(ParseStatement(line));
          ExpectBlockEnd();
        }
      }
    }
    if (ends.size() > 0)
      Fail("unexpected end of template, expected '" + std::string(*(ends.end() - 1)) + "'");
    return body;
  }

  void ExpectBlockEnd() {
    if (Peek().type != TokenType::kBlockEnd) Fail("expected the end of the block tag");
    Take();
  }

  // A body between the tag that is being read and {% end %}, of which the last %} is left to be
  // taken.
  Body ParseBodyUntil(std::string_view end) {
    ExpectBlockEnd();
    Body body = ParseBody({end});
    ExpectName(end);
    return body;
  }

  const Stmt* ParseStatement(int line) {
    const std::string tag = TakeName();
    if (tag == "if") return ParseIf(line);
    if (tag == "for") return ParseFor(line);
    if (tag == "set") return ParseSet(line);
    if (tag == "with") return ParseWith(line);
    if (tag == "macro") return ParseMacro(line);
    if (tag == "call") return ParseCallBlock(line);
    if (tag == "filter") {
      auto* block = ast_.NewStmt<FilterBlockStmt>(line);
      block->filters = ParseOpenFilters();
      block->body = ParseBodyUntil("endfilter");
      return block;
    }
    if (tag == "print") return ParsePrint(line);
    if (tag == "generation" || tag == "block") return ParseScoped(line, tag);
    if (tag == "break" || tag == "continue") {
      if (loops_ == 0) Fail("'" + tag + "' outside of a loop");
      return ast_.Own(
          std::make_unique<PlainStmt>(tag == "break" ? StmtKind::kBreak : StmtKind::kContinue),
          line);
    }
    if (tag == "include" || tag == "import" || tag == "from" || tag == "extends")
      Fail("'" + tag + "' needs other templates, and there are none");
    Fail("Encountered unknown tag '" + tag + "'.");
  }

  const Stmt* ParsePrint(int line) {
    auto* output = ast_.NewStmt<OutputStmt>(line);
    Expr* all = ast_.NewExpr(ExprKind::kConcat, line);
    do all->parts.push_back(ParseExpression());
    while (SkipOperator(","));
    output->value = Finish(all);
    return output;
  }

  const Stmt* ParseIf(int line) {
    auto* result = ast_.NewStmt<IfStmt>(line);
    ++soft_;
    do {
      const Expr* condition = ParseTuple(false, false);
      ExpectBlockEnd();
      result->branches.emplace_back(condition, ParseBody({"elif", "else", "endif"}));
    } while (SkipName("elif"));
    if (SkipName("else")) {
      ExpectBlockEnd();
      result->otherwise = ParseBody({"endif"});
    }
    ExpectName("endif");
    --soft_;
    return result;
  }

  const Stmt* ParseFor(int line) {
    auto* loop = ast_.NewStmt<ForStmt>(line);
    loop->target = ParseTarget(false);
    ExpectName("in");
    loop->iterable = ParseTuple(false, false);
    if (SkipName("if")) loop->filter = ParseExpression();
    loop->recursive = SkipName("recursive");
    ExpectBlockEnd();
    ++loops_;
    loop->body = ParseBody({"else", "endfor"});
    --loops_;
    if (SkipName("else")) {
      ExpectBlockEnd();
      loop->otherwise = ParseBody({"endfor"});
    }
    ExpectName("endfor");
    return loop;
  }

  const Stmt* ParseSet(int line) {
    Target target = ParseTarget(true);
    if (SkipOperator("=")) {
      auto* assignment = ast_.NewStmt<SetStmt>(line);
      assignment->target = std::move(target);
      assignment->value = ParseTuple(true, false);
      return assignment;
    }
    auto* block = ast_.NewStmt<SetBlockStmt>(line);
    block->target = std::move(target);
    if (SkipOperator("|")) block->filters = ParseOpenFilters();
    block->body = ParseBodyUntil("endset");
    return block;
  }

  const Stmt* ParseWith(int line) {
    auto* block = ast_.NewStmt<WithStmt>(line);
    while (Peek().type != TokenType::kBlockEnd) {
      if (!block->bindings.empty()) ExpectOperator(",");
      Target target = ParseTarget(false);
      ExpectOperator("=");
      block->bindings.emplace_back(std::move(target), ParseExpression());
    }
    block->body = ParseBodyUntil("endwith");
    return block;
  }

  void ParseParameters(Macro& macro) {
    ExpectOperator("(");
    while (!IsOperator(")")) {
      if (!macro.parameters.empty()) ExpectOperator(",");
      Macro::Parameter parameter;
      parameter.symbol = ast_.Symbol(TakeName());
      parameter.name = ast_.SymbolText(parameter.symbol);
      if (SkipOperator("=")) {
        parameter.fallback = ParseExpression();
      } else if (!macro.parameters.empty() && macro.parameters.back().fallback != nullptr) {
        Fail("non-default argument follows default argument");
      }
      macro.parameters.push_back(parameter);
    }
    ExpectOperator(")");
  }

  // A loop around a macro is none that its body could break.
  void ParseMacroBody(Macro& macro, std::string_view end) {
    macros_.push_back(&macro);
    const int loops = std::exchange(loops_, 0);
    const int soft = std::exchange(soft_, 0);
    macro.body = ParseBodyUntil(end);
    soft_ = soft;
    loops_ = loops;
    macros_.pop_back();
  }

  const Stmt* ParseMacro(int line) {
    auto* statement = ast_.NewStmt<MacroStmt>(line);
    statement->macro.symbol = ast_.Symbol(TakeName());
    statement->macro.name = ast_.SymbolText(statement->macro.symbol);
    ParseParameters(statement->macro);
    ParseMacroBody(statement->macro, "endmacro");
    return statement;
  }

  const Stmt* ParseCallBlock(int line) {
    auto* block = ast_.NewStmt<CallBlockStmt>(line);
    block->caller.symbol = kSymbolCaller;
    block->caller.name = ast_.SymbolText(kSymbolCaller);
    if (IsOperator("(")) ParseParameters(block->caller);
    block->call = ParseExpression();
    if (block->call->kind != ExprKind::kCall) Fail("expected call");
    ParseMacroBody(block->caller, "endcall");
    return block;
  }

  const Stmt* ParseScoped(int line, const std::string& tag) {
    auto* block = ast_.NewStmt<ScopedStmt>(line);
    if (tag == "block") TakeName();
    const int loops = std::exchange(loops_, 0);
    block->body = ParseBodyUntil("end" + tag);
    if (tag == "block" && Peek().type == TokenType::kName) Take();  // {% endblock name %}
    loops_ = loops;
    return block;
  }

  int loops_ = 0;
};

}  // namespace

std::unique_ptr<const Ast> Parse(std::string_view source) {
  if (source.size() > kMaxSourceBytes)
    throw TemplateError("the template is larger than 256 KiB", 1);
  if (!IsValidUtf8(source)) throw TemplateError("the template is not UTF-8", 1);
  auto ast = std::make_unique<Ast>();
  Parser(Tokenize(source), *ast).Run();
  return ast;
}

}  // namespace quire::jinja
