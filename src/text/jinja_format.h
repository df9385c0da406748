// Text of values: "…" % values, "…".format(…), and the format specifications of both.
#pragma once

#include <string>
#include <string_view>

#include "text/jinja_value.h"

namespace quire::jinja {

// format % arguments, as Python's str has it.
Value PercentFormat(Heap& heap, const Value& format, const Value& arguments);
// format.format(arguments), without access to private attributes.
Value BraceFormat(Heap& heap, std::string_view format, const Arguments& arguments);

}  // namespace quire::jinja
