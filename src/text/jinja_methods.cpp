// Methods of strings.
#include <algorithm>
#include <iterator>
#include <optional>
#include <string>

#include "base/utf8.h"
#include "text/jinja_builtins.h"
#include "text/jinja_format.h"
#include "text/jinja_interpreter.h"
#include "text/jinja_operators.h"
#include "text/jinja_strings.h"

namespace quire::jinja {
namespace {

// A new string that is markup where self is.
Value Like(Interpreter& run, const Value& self, std::string text) {
  return run.heap().NewString(std::move(text), self.is_markup());
}

std::optional<std::string_view> OptionalText(const Parameters& given, std::size_t index) {
  if (!given.given(index) || given[index].is_none()) return std::nullopt;
  return given.Text(index, "");
}

template <std::string (*change)(std::string_view)>
Value Change(Interpreter& run, const Value& self, const Arguments& arguments) {
  const Parameters given("str method", arguments, {});
  run.budget().Step(1 + self.text().size() / 16);
  return Like(run, self, change(self.text()));
}

template <bool left, bool right>
Value StripEnds(Interpreter& run, const Value& self, const Arguments& arguments) {
  const Parameters given("strip", arguments, {"chars"});
  const auto set = OptionalText(given, 0);
  run.budget().StepBytes(self.text().size() * (set ? 1 + set->size() / 16 : 1));
  return Like(run, self, std::string(Strip(self.text(), set, left, right)));
}

Value SplitText(Interpreter& run, const Value& self, const Arguments& arguments, bool from_right) {
  const Parameters given("split", arguments, {"sep", "maxsplit"});
  const auto separator = OptionalText(given, 0);
  if (separator && separator->empty()) throw TemplateError("empty separator");
  run.budget().StepBytes(self.text().size());
  run.budget().Require(self.text().size());
  const auto parts = Split(self.text(), separator, given.Int(1, -1), from_right);
  std::vector<Value> items;
  items.reserve(parts.size());
  for (const std::string_view part : parts) items.push_back(Like(run, self, std::string(part)));
  return run.heap().NewList(std::move(items));
}

Value SplitLeft(Interpreter& run, const Value& self, const Arguments& arguments) {
  return SplitText(run, self, arguments, false);
}
Value SplitRight(Interpreter& run, const Value& self, const Arguments& arguments) {
  return SplitText(run, self, arguments, true);
}

Value SplitIntoLines(Interpreter& run, const Value& self, const Arguments& arguments) {
  const Parameters given("splitlines", arguments, {"keepends"});
  std::vector<Value> items;
  for (const std::string_view line : SplitLines(self.text(), given.Bool(0, false)))
    items.push_back(Like(run, self, std::string(line)));
  return run.heap().NewList(std::move(items));
}

Value PartitionAt(Interpreter& run, const Value& self, const Arguments& arguments, bool last) {
  const Parameters given("partition", arguments, {"sep"}, 1);
  const std::string_view separator = given.Text(0, "");
  if (separator.empty()) throw TemplateError("empty separator");
  const std::string_view text = self.text();
  const std::size_t at = last ? text.rfind(separator) : text.find(separator);
  std::string parts[3];
  if (at == std::string_view::npos) {
    parts[last ? 2 : 0] = std::string(text);
  } else {
    parts[0] = std::string(text.substr(0, at));
    parts[1] = std::string(separator);
    parts[2] = std::string(text.substr(at + separator.size()));
  }
  return run.heap().NewTuple({Like(run, self, std::move(parts[0])),
                              Like(run, self, std::move(parts[1])),
                              Like(run, self, std::move(parts[2]))});
}

Value PartitionLeft(Interpreter& run, const Value& self, const Arguments& arguments) {
  return PartitionAt(run, self, arguments, false);
}
Value PartitionRight(Interpreter& run, const Value& self, const Arguments& arguments) {
  return PartitionAt(run, self, arguments, true);
}

// The part of self between the optional arguments start and end, and where it begins (in
// characters).
struct Window {
  std::string_view text;
  std::int64_t start = 0;
  bool valid = true;
};
Window WindowOf(Interpreter& run, const Value& self, const Parameters& given) {
  Window window{self.text(), 0, true};
  if (!given.given(1) && !given.given(2)) return window;
  const auto size = static_cast<std::int64_t>(Length(run.heap(), self));
  const auto clamp = [size](std::int64_t index) {
    return index < 0 ? std::max<std::int64_t>(0, index + size) : index;
  };
  window.start = clamp(given.Int(1, 0));
  const std::int64_t end = std::min(clamp(given.Int(2, size)), size);
  window.valid = window.start <= end;
  if (!window.valid) return window;
  const std::size_t from = ByteOffset(self.text(), static_cast<std::size_t>(window.start));
  const std::size_t to = ByteOffset(self.text(), static_cast<std::size_t>(end));
  window.text = window.text.substr(from, to - from);
  return window;
}

Value HasAffix(Interpreter& run, const Value& self, const Arguments& arguments, bool at_end) {
  const char* name = at_end ? "endswith" : "startswith";
  const Parameters given(name, arguments, {"affix", "start", "end"}, 1);
  const Window window = WindowOf(run, self, given);
  const auto fits = [&](const Value& affix) {
    if (affix.is_undefined()) FailUndefined(affix);
    if (!affix.is_string())
      throw TemplateError(std::string(name) + " first arg must be str or a tuple of str, not " +
                          std::string(affix.TypeName()));
    if (!window.valid) return false;
    return at_end ? window.text.ends_with(affix.text()) : window.text.starts_with(affix.text());
  };
  if (!given[0].is_seq(SeqType::kTuple)) return Value::Bool(fits(given[0]));
  const auto& affixes = given[0].seq().items;
  run.budget().Step(affixes.size());
  return Value::Bool(std::any_of(affixes.begin(), affixes.end(), fits));
}

Value StartsWith(Interpreter& run, const Value& self, const Arguments& arguments) {
  return HasAffix(run, self, arguments, false);
}
Value EndsWith(Interpreter& run, const Value& self, const Arguments& arguments) {
  return HasAffix(run, self, arguments, true);
}

template <bool last, bool must_exist>
Value FindText(Interpreter& run, const Value& self, const Arguments& arguments) {
  const Parameters given("find", arguments, {"sub", "start", "end"}, 1);
  const std::string_view what = given.Text(0, "");
  if (!given[0].is_string())
    throw TemplateError("must be str, not " + std::string(given[0].TypeName()));
  const Window window = WindowOf(run, self, given);
  run.budget().StepBytes(window.text.size());
  std::size_t at = std::string_view::npos;
  if (window.valid) at = last ? window.text.rfind(what) : window.text.find(what);
  if (at == std::string_view::npos) {
    if (must_exist) throw TemplateError("substring not found");
    return Value::Int(-1);
  }
  return Value::Int(window.start +
                    static_cast<std::int64_t>(CountChars(window.text.substr(0, at))));
}

Value CountText(Interpreter& run, const Value& self, const Arguments& arguments) {
  const Parameters given("count", arguments, {"sub", "start", "end"}, 1);
  const std::string_view what = given.Text(0, "");
  const Window window = WindowOf(run, self, given);
  if (!window.valid) return Value::Int(0);
  run.budget().StepBytes(window.text.size());
  if (what.empty()) return Value::Int(static_cast<std::int64_t>(CountChars(window.text)) + 1);
  std::int64_t count = 0;
  for (std::size_t at = 0; (at = window.text.find(what, at)) != std::string_view::npos;
       at += what.size())
    ++count;
  return Value::Int(count);
}

Value ReplaceText(Interpreter& run, const Value& self, const Arguments& arguments) {
  const Parameters given("replace", arguments, {"old", "new", "count"}, 2);
  for (std::size_t i = 0; i < 2; ++i) {
    if (given[i].is_undefined()) FailUndefined(given[i]);
    if (!given[i].is_string())
      throw TemplateError("replace() argument " + std::to_string(i + 1) + " must be str, not " +
                          std::string(given[i].TypeName()));
  }
  const std::int64_t count = given.Int(2, -1);
  run.budget().StepBytes(self.text().size());
  run.budget().Require(ReplacedSize(self.text(), given[0].text(), given[1].text(), count));
  return Like(run, self, ReplaceAll(self.text(), given[0].text(), given[1].text(), count));
}

template <bool suffix>
Value RemoveAffix(Interpreter& run, const Value& self, const Arguments& arguments) {
  const Parameters given("removeprefix", arguments, {"affix"}, 1);
  const std::string_view affix = given.Text(0, "");
  std::string_view text = self.text();
  if (suffix && text.ends_with(affix)) text.remove_suffix(affix.size());
  if (!suffix && text.starts_with(affix)) text.remove_prefix(affix.size());
  return Like(run, self, std::string(text));
}

Value JoinText(Interpreter& run, const Value& self, const Arguments& arguments) {
  const Parameters given("join", arguments, {"iterable"}, 1);
  if (!IsIterable(given[0])) throw TemplateError("can only join an iterable");
  std::string text;
  std::size_t index = 0;
  for (const Value& item : Iterate(run.heap(), given[0])) {
    if (!item.is_string())
      throw TemplateError("sequence item " + std::to_string(index) + ": expected str instance, " +
                          std::string(item.TypeName()) + " found");
    if (index++ > 0) text += self.text();
    text += item.text();
    run.budget().Require(text.size());
  }
  return Like(run, self, std::move(text));
}

Value FormatText(Interpreter& run, const Value& self, const Arguments& arguments) {
  return BraceFormat(run.heap(), self.text(), arguments);
}

// ljust, rjust and center: where the padding goes.
enum class Side : std::uint8_t { kLeft, kRight, kBoth };
template <Side side>
Value Justify(Interpreter& run, const Value& self, const Arguments& arguments) {
  const Parameters given("justify", arguments, {"width", "fillchar"}, 1);
  const std::string_view fill = given.Text(1, " ");
  if (CountChars(fill) != 1)
    throw TemplateError("The fill character must be exactly one character long");
  const auto size = static_cast<std::int64_t>(Length(run.heap(), self));
  const std::int64_t width = given.Int(0, 0);
  if (width <= size) return self;
  const std::int64_t missing = width - size;
  const std::int64_t left = side == Side::kRight  ? 0
                            : side == Side::kLeft ? missing
                                                  : missing / 2 + (missing & width & 1);
  run.budget().Require(static_cast<std::size_t>(missing) > SIZE_MAX / 8
                           ? SIZE_MAX
                           : static_cast<std::size_t>(missing) * fill.size() + self.text().size());
  std::string text;
  for (std::int64_t i = 0; i < left; ++i) text += fill;
  text += self.text();
  for (std::int64_t i = left; i < missing; ++i) text += fill;
  return Like(run, self, std::move(text));
}

Value ZeroFill(Interpreter& run, const Value& self, const Arguments& arguments) {
  const Parameters given("zfill", arguments, {"width"}, 1);
  const auto size = static_cast<std::int64_t>(Length(run.heap(), self));
  const std::int64_t missing = given.Int(0, 0) - size;
  if (missing <= 0) return self;
  run.budget().Require(static_cast<std::size_t>(missing) + self.text().size());
  std::string text = self.text();
  const bool has_sign = !text.empty() && (text[0] == '-' || text[0] == '+');
  text.insert(has_sign ? 1 : 0, static_cast<std::size_t>(missing), '0');
  return Like(run, self, std::move(text));
}

bool IsLetter(CharClass type) {
  return type == CharClass::kAlpha || type == CharClass::kLower || type == CharClass::kUpper;
}
bool IsDigitClass(CharClass type) { return type == CharClass::kDigit; }
bool IsAlnum(CharClass type) {
  return IsLetter(type) || type == CharClass::kDigit || type == CharClass::kAlnum;
}
bool IsSpaceClass(CharClass type) { return type == CharClass::kSpace; }

template <bool (*fits)(CharClass)>
Value AllChars(Interpreter& run, const Value& self, const Arguments& arguments) {
  const Parameters given("str method", arguments, {});
  run.budget().Step(1 + self.text().size() / 16);
  bool all = !self.text().empty();
  for (std::string_view rest = self.text(); all && !rest.empty();) {
    const Utf8Char next = DecodeUtf8(rest);
    all = fits(Classify(next.code));
    rest.remove_prefix(next.length);
  }
  return Value::Bool(all);
}

// isupper and islower: at least one cased character, and none of the other case.
template <CharClass wanted, CharClass unwanted>
Value HasCase(Interpreter& run, const Value& self, const Arguments& arguments) {
  const Parameters given("str method", arguments, {});
  run.budget().Step(1 + self.text().size() / 16);
  bool found = false;
  for (std::string_view rest = self.text(); !rest.empty();) {
    const Utf8Char next = DecodeUtf8(rest);
    const CharClass type = Classify(next.code);
    if (type == unwanted) return Value::Bool(false);
    found |= type == wanted;
    rest.remove_prefix(next.length);
  }
  return Value::Bool(found);
}

constexpr Builtin kMethods[] = {
    {"strip", StripEnds<true, true>},
    {"lstrip", StripEnds<true, false>},
    {"rstrip", StripEnds<false, true>},
    {"split", SplitLeft},
    {"rsplit", SplitRight},
    {"splitlines", SplitIntoLines},
    {"partition", PartitionLeft},
    {"rpartition", PartitionRight},
    {"startswith", StartsWith},
    {"endswith", EndsWith},
    {"find", FindText<false, false>},
    {"rfind", FindText<true, false>},
    {"index", FindText<false, true>},
    {"rindex", FindText<true, true>},
    {"count", CountText},
    {"replace", ReplaceText},
    {"removeprefix", RemoveAffix<false>},
    {"removesuffix", RemoveAffix<true>},
    {"join", JoinText},
    {"format", FormatText},
    {"upper", Change<Upper>},
    {"lower", Change<Lower>},
    {"casefold", Change<Lower>},
    {"swapcase", Change<SwapCase>},
    {"capitalize", Change<Capitalize>},
    {"title", Change<Title>},
    {"ljust", Justify<Side::kRight>},
    {"rjust", Justify<Side::kLeft>},
    {"center", Justify<Side::kBoth>},
    {"zfill", ZeroFill},
    {"isalpha", AllChars<IsLetter>},
    {"isdigit", AllChars<IsDigitClass>},
    {"isdecimal", AllChars<IsDigitClass>},
    {"isnumeric", AllChars<IsDigitClass>},
    {"isalnum", AllChars<IsAlnum>},
    {"isspace", AllChars<IsSpaceClass>},
    {"isupper", HasCase<CharClass::kUpper, CharClass::kLower>},
    {"islower", HasCase<CharClass::kLower, CharClass::kUpper>},
};

}  // namespace

Builtin FindStringMethod(std::string_view name) { return FindIn(kMethods, name); }

}  // namespace quire::jinja
