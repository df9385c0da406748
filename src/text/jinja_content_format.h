// Whether a template reads a message's content as a list of parts.
#pragma once

#include "text/jinja_ast.h"

namespace quire::jinja {

// True where a loop runs over the content of a message, or it is replaced by its JSON, however it
// was named on its way there: by loops over the messages, by assignments, or as an argument of a
// macro.
bool TakesContentParts(const Ast& ast);

}  // namespace quire::jinja
