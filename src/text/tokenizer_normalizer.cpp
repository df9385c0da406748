#include "text/tokenizer_normalizer.h"

#include <utf8proc.h>

#include <algorithm>
#include <utility>

#include "base/utf8.h"
#include "text/tokenizer_regex.h"
#include "text/tokenizer_unicode.h"

namespace quire {

class Normalizer::Step {
 public:
  virtual ~Step() = default;
  virtual std::string Apply(std::string text) const = 0;
};

namespace {

using Steps = std::vector<std::unique_ptr<const Normalizer::Step>>;

constexpr int kMaxNesting = 16;  // of sequences in sequences

bool IsAscii(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

// The canonical order of combining marks. utf8proc's own sorting is quadratic in the length of a
// run of marks.
void SortMarks(std::vector<utf8proc_int32_t>& codes) {
  auto class_of = [](utf8proc_int32_t code) {
    return utf8proc_get_property(code)->combining_class;
  };
  for (auto it = codes.begin(); it != codes.end();) {
    if (class_of(*it) == 0) {
      ++it;
      continue;
    }
    const auto end =
        std::find_if(it, codes.end(), [&](utf8proc_int32_t code) { return class_of(code) == 0; });
    std::stable_sort(
        it, end, [&](utf8proc_int32_t a, utf8proc_int32_t b) { return class_of(a) < class_of(b); });
    it = end;
  }
}

// One of Unicode's four normalisation forms, by the library's tables: characters that are newer
// than these neither decompose nor move nor compose, so they part the text.
class UnicodeFormStep : public Normalizer::Step {
 public:
  UnicodeFormStep(bool compose, bool compatible)
      : compose_(compose),
        decompose_(static_cast<utf8proc_option_t>(UTF8PROC_DECOMPOSE | UTF8PROC_STABLE |
                                                  (compatible ? UTF8PROC_COMPAT : 0))) {}

  std::string Apply(std::string text) const override {
    if (IsAscii(text)) return text;
    std::string out;
    out.reserve(text.size());
    std::vector<utf8proc_int32_t> codes;
    for (std::string_view rest = text; !rest.empty();) {
      const Utf8Char next = DecodeUtf8(rest);
      rest.remove_prefix(next.length);
      if (IsNewerThanNormalization(next.code)) {
        Flush(codes, out);
        AppendUtf8(out, next.code);
      } else {
        Decompose(static_cast<utf8proc_int32_t>(next.code), codes);
      }
    }
    Flush(codes, out);
    return out;
  }

 private:
  void Decompose(utf8proc_int32_t code, std::vector<utf8proc_int32_t>& codes) const {
    utf8proc_int32_t parts[32] = {};  // the longest decomposition has 18
    int boundary = 0;
    const auto count =
        utf8proc_decompose_char(code, parts, std::ssize(parts), decompose_, &boundary);
    if (count < 0 || count > std::ssize(parts)) {
      codes.push_back(code);
    } else {
      codes.insert(codes.end(), parts, parts + count);
    }
  }

  void Flush(std::vector<utf8proc_int32_t>& codes, std::string& out) const {
    SortMarks(codes);
    if (compose_) {
      const auto length = utf8proc_normalize_utf32(
          codes.data(), std::ssize(codes),
          static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE));
      if (length >= 0) codes.resize(static_cast<std::size_t>(length));
    }
    for (const utf8proc_int32_t code : codes) AppendUtf8(out, static_cast<char32_t>(code));
    codes.clear();
  }

  bool compose_;
  utf8proc_option_t decompose_;
};

// Lower case, character by character.
class LowercaseStep : public Normalizer::Step {
 public:
  std::string Apply(std::string text) const override {
    std::string out;
    out.reserve(text.size());
    for (std::string_view rest = text; !rest.empty();) {
      const Utf8Char next = DecodeUtf8(rest);
      rest.remove_prefix(next.length);
      if (next.code == 0x130) {  // the only one whose lower case is two characters
        out += "i\u0307";
      } else {
        AppendUtf8(
            out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(next.code))));
      }
    }
    return out;
  }
};

// Takes white space off the ends.
class StripStep : public Normalizer::Step {
 public:
  StripStep(bool left, bool right) : left_(left), right_(right) {}

  std::string Apply(std::string text) const override {
    std::string_view rest = text;
    if (left_) rest.remove_prefix(LeadingWhiteSpace(rest));
    if (right_) rest.remove_suffix(TrailingWhiteSpace(rest));
    return std::string(rest);
  }

 private:
  bool left_;
  bool right_;
};

// Takes out combining marks.
class StripAccentsStep : public Normalizer::Step {
 public:
  std::string Apply(std::string text) const override {
    std::string out;
    out.reserve(text.size());
    for (std::string_view rest = text; !rest.empty();) {
      const Utf8Char next = DecodeUtf8(rest);
      if (!IsCombiningMark(next.code)) out.append(rest.substr(0, next.length));
      rest.remove_prefix(next.length);
    }
    return out;
  }
};

// Puts a text before every text that is not empty.
class PrependStep : public Normalizer::Step {
 public:
  explicit PrependStep(std::string prefix) : prefix_(std::move(prefix)) {}
  std::string Apply(std::string text) const override {
    return text.empty() ? text : prefix_ + text;
  }

 private:
  std::string prefix_;
};

// Replaces every match of a pattern.
class ReplaceStep : public Normalizer::Step {
 public:
  ReplaceStep(TokenizerRegex regex, std::string content)
      : regex_(std::move(regex)), content_(std::move(content)) {}

  std::string Apply(std::string text) const override { return regex_.ReplaceAll(text, content_); }

 private:
  TokenizerRegex regex_;
  std::string content_;
};

Status AddReplace(const JsonView& config, Steps& steps) {
  const Result<JsonView> pattern = config.Require("pattern");
  if (!pattern) return pattern.error();
  const Result<std::string> content = config.String("content");
  if (!content) return content.error();
  Result<TokenizerRegex> regex = TokenizerRegex::Parse(*pattern);
  if (!regex) return regex.error();
  steps.push_back(std::make_unique<ReplaceStep>(*std::move(regex), *content));
  return {};
}

Status AddStrip(const JsonView& config, Steps& steps) {
  const Result<bool> left = config.BoolOr("strip_left", true);
  if (!left) return left.error();
  const Result<bool> right = config.BoolOr("strip_right", true);
  if (!right) return right.error();
  steps.push_back(std::make_unique<StripStep>(*left, *right));
  return {};
}

Status AddSteps(const JsonView& config, int nesting, Steps& steps) {
  const Result<std::string> type = config.String("type");
  if (!type) return type.error();
  if (*type == "Sequence") {
    if (nesting >= kMaxNesting) return config.Fault("is nested too deeply");
    const Result<JsonView> parts = config.Array("normalizers");
    if (!parts) return parts.error();
    for (std::size_t i = 0; i < parts->json().size(); ++i)
      QUIRE_RETURN_IF_ERROR(AddSteps(parts->At(i), nesting + 1, steps));
    return {};
  }
  if (*type == "Prepend") {
    const Result<std::string> prefix = config.String("prepend");
    if (!prefix) return prefix.error();
    steps.push_back(std::make_unique<PrependStep>(*prefix));
    return {};
  }
  if (*type == "Replace") return AddReplace(config, steps);
  if (*type == "Strip") return AddStrip(config, steps);
  if (*type == "NFC" || *type == "NFD" || *type == "NFKC" || *type == "NFKD") {
    steps.push_back(std::make_unique<UnicodeFormStep>(type->back() == 'C', type->size() == 4));
  } else if (*type == "Lowercase") {
    steps.push_back(std::make_unique<LowercaseStep>());
  } else if (*type == "StripAccents") {
    steps.push_back(std::make_unique<StripAccentsStep>());
  } else {
    return config.Fault("has the type " + Quoted(*type) + ", which is not supported");
  }
  return {};
}

}  // namespace

Normalizer::Normalizer() = default;
Normalizer::~Normalizer() = default;
Normalizer::Normalizer(Normalizer&&) noexcept = default;
Normalizer& Normalizer::operator=(Normalizer&&) noexcept = default;

Result<Normalizer> Normalizer::Parse(const std::optional<JsonView>& config) {
  Normalizer parsed;
  if (!config) return parsed;
  const Status status = AddSteps(*config, 0, parsed.steps_);
  if (!status) return status.error();
  return parsed;
}

std::string Normalizer::Apply(std::string_view text) const {
  std::string out(text);
  for (const auto& step : steps_) out = step->Apply(std::move(out));
  return out;
}

}  // namespace quire
