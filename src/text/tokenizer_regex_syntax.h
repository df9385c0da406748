// Oniguruma's regular expressions (those of the tokenizers library) in PCRE2's spelling.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace quire {

// A pattern for PCRE2 with UTF, UCP and MULTILINE that matches what `pattern` matches there, with
// the characters that Unicode 15 and 16 added in their categories. The error's message says what is
// not supported; a pattern that is malformed may also pass, for PCRE2 to refuse.
Result<std::string> OnigurumaToPcre2(std::string_view pattern);

}  // namespace quire
