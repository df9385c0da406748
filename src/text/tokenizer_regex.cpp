#include "text/tokenizer_regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <optional>

#include "base/utf8.h"
#include "text/tokenizer_regex_syntax.h"

namespace quire {
namespace {

// Enough for every sane pattern, and an end in milliseconds for the others.
constexpr std::uint32_t kMatchLimit = 10'000'000;
constexpr std::uint32_t kHeapLimitKib = 64 * 1024;

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
  pcre2_code* compiled = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                       options | PCRE2_UTF, &code, &offset, nullptr);
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
  const Result<std::string> translated = OnigurumaToPcre2(pattern);
  if (!translated) return translated.error();
  return CompileWith(*translated, PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C);
}

Result<TokenizerRegex> TokenizerRegex::Literal(std::string_view text) {
  return CompileWith(text, PCRE2_LITERAL);
}

Result<TokenizerRegex> TokenizerRegex::Parse(const JsonView& pattern) {
  const bool literal = pattern.Find("String").has_value();
  const Result<std::string> source = pattern.String(literal ? "String" : "Regex");
  if (!source) return source.error();
  Result<TokenizerRegex> regex = literal ? Literal(*source) : Compile(*source);
  if (!regex) return pattern.Fault("is no regular expression: " + regex.error().message);
  return regex;
}

std::string TokenizerRegex::ReplaceAll(std::string_view text, std::string_view content) const {
  std::string out;
  out.reserve(text.size());
  std::size_t done = 0;
  ForEachMatch(text, [&](TextSpan match) {
    out.append(text.substr(done, match.begin - done)).append(content);
    done = match.end;
  });
  return out.append(text.substr(done));
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
