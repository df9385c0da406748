#include "text/tokenizer_regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <optional>

#include "base/utf8.h"

namespace quire {
namespace {

// White_Space of Unicode, which is what \s is there. PCRE2's own \s has U+180E besides.
constexpr std::string_view kSpaces =
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}"
    "\\x{205f}\\x{3000}";

// Enough for every sane pattern, and an end in milliseconds for the others.
constexpr std::uint32_t kMatchLimit = 10'000'000;
constexpr std::uint32_t kHeapLimitKib = 64 * 1024;

// Rewrites what Oniguruma and PCRE2 read differently: \s, \S and \h (a hexadecimal digit there).
std::string Translate(std::string_view pattern) {
  std::string out;
  int class_depth = 0;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c == '\\' && i + 1 < pattern.size()) {
      const char next = pattern[++i];
      if (next == 's') {
        out += class_depth > 0 ? std::string(kSpaces) : "[" + std::string(kSpaces) + "]";
      } else if (next == 'S' && class_depth == 0) {
        out += "[^" + std::string(kSpaces) + "]";
      } else if (next == 'h') {
        out += class_depth > 0 ? "0-9a-fA-F" : "[0-9a-fA-F]";
      } else {
        out += {c, next};
      }
      continue;
    }
    // A nested class, "[a[bc]]", is a set union there; its brackets are dropped here.
    if (c == '[' && class_depth > 0 && i + 1 < pattern.size() && pattern[i + 1] != ':' &&
        pattern[i + 1] != '^') {
      ++class_depth;
      continue;
    }
    if (c == '[' && class_depth == 0) {
      class_depth = 1;
    } else if (c == ']' && class_depth > 1) {
      --class_depth;
      continue;
    } else if (c == ']' && class_depth == 1) {
      class_depth = 0;
    }
    out += c;
  }
  return out;
}

struct FreeMatchData {
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};
struct FreeMatchContext {
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
};

}  // namespace

// Owns PCRE2's compiled code.
class TokenizerRegex::Code {
 public:
  explicit Code(pcre2_code* code) : code_(code) {}
  ~Code() { pcre2_code_free(code_); }
  Code(const Code&) = delete;
  Code& operator=(const Code&) = delete;

  const pcre2_code* get() const { return code_; }

 private:
  pcre2_code* code_;
};

Result<TokenizerRegex> TokenizerRegex::CompileWith(std::string_view pattern, unsigned options) {
  int code = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* compiled =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                    options | PCRE2_UTF | PCRE2_NEVER_BACKSLASH_C, &code, &offset, nullptr);
  if (compiled == nullptr) {
    char message[160] = {};
    pcre2_get_error_message(code, reinterpret_cast<PCRE2_UCHAR*>(message), sizeof(message));
    return ModelFault(std::string(message));
  }
  // Without a just-in-time compiler for this machine the interpreter matches the same.
  (void)pcre2_jit_compile(compiled, PCRE2_JIT_COMPLETE);
  return TokenizerRegex(std::make_shared<const Code>(compiled));
}

Result<TokenizerRegex> TokenizerRegex::Compile(std::string_view pattern) {
  return CompileWith(Translate(pattern), PCRE2_UCP);
}

Result<TokenizerRegex> TokenizerRegex::Literal(std::string_view text) {
  return CompileWith(text, PCRE2_LITERAL);
}

void TokenizerRegex::ForEachMatch(std::string_view text,
                                  const std::function<void(TextSpan)>& visit) const {
  const std::unique_ptr<pcre2_match_data, FreeMatchData> data(
      pcre2_match_data_create_from_pattern(code_->get(), nullptr));
  const std::unique_ptr<pcre2_match_context, FreeMatchContext> context(
      pcre2_match_context_create(nullptr));
  if (!data || !context) return;
  pcre2_set_match_limit(context.get(), kMatchLimit);
  pcre2_set_heap_limit(context.get(), kHeapLimitKib);

  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  auto search = [&](std::size_t from, unsigned options) {
    return pcre2_match(code_->get(), subject, text.size(), from, PCRE2_NO_UTF_CHECK | options,
                       data.get(), context.get());
  };
  std::optional<std::size_t> last_end;
  for (std::size_t at = 0; at <= text.size();) {
    int found = search(at, 0);
    // The compiled code has a small stack; the interpreter keeps its own on the heap.
    if (found == PCRE2_ERROR_JIT_STACKLIMIT) found = search(at, PCRE2_NO_JIT);
    if (found < 0) return;
    const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(data.get());
    const TextSpan match{bounds[0], bounds[1]};
    if (match.begin > match.end) return;  // \K in a lookahead can do this
    if (match.begin == match.end && last_end == match.end) {
      if (at >= text.size()) return;
      at += DecodeUtf8(text.substr(at)).length;
      continue;
    }
    visit(match);
    at = match.end;
    last_end = match.end;
  }
}

}  // namespace quire
