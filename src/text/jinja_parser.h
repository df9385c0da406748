// Makes the syntax tree of a template.
#pragma once

#include <memory>
#include <string_view>

#include "text/jinja_ast.h"

namespace quire::jinja {

// Throws TemplateError with the line where the source is no template, or names a filter or test
// that does not exist (inside an `if` that is an error only once it is reached, as jinja2 has it).
std::unique_ptr<const Ast> Parse(std::string_view source);

}  // namespace quire::jinja
