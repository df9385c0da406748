// Filters that take and give one value: text, numbers, JSON.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>
#include <optional>
#include <string>

#include "text/jinja_builtins.h"
#include "text/jinja_format.h"
#include "text/jinja_interpreter.h"
#include "text/jinja_json.h"
#include "text/jinja_operators.h"
#include "text/jinja_strings.h"

namespace quire::jinja {
namespace {

// The text of any value; of undefined the empty one.
std::string TextOf(Interpreter& run, const Value& self) {
  std::string text = Print(run.heap(), self);
  run.budget().Step(1 + text.size() / 16);
  run.budget().Require(text.size());
  return text;
}

Value Like(Interpreter& run, const Value& self, std::string text) {
  return run.heap().NewString(std::move(text), self.is_markup());
}

template <std::string (*change)(std::string_view)>
Value Change(Interpreter& run, const Value& self, const Arguments& arguments) {
  const Parameters given("filter", arguments, {});
  return Like(run, self, change(TextOf(run, self)));
}

// jinja2's own idea of a title: words begin behind white space and opening brackets.
std::string TitleWords(std::string_view text) {
  std::string out;
  bool at_start = true;
  for (const std::string_view c : SplitChars(text)) {
    const bool separates =
        std::string_view("-({[<").find(c) != std::string_view::npos || TrimLeft(c).empty();
    out += separates ? std::string(c) : at_start ? Upper(c) : Lower(c);
    at_start = separates;
  }
  return out;
}

Value Trim(Interpreter& run, const Value& self, const Arguments& arguments) {
  const Parameters given("trim", arguments, {"chars"});
  const std::string text = TextOf(run, self);
  std::optional<std::string_view> set;
  if (given.given(0) && !given[0].is_none()) set = given.Text(0, "");
  return Like(run, self, std::string(Strip(text, set, true, true)));
}

Value Replace(Interpreter& run, const Value& self, const Arguments& arguments) {
  const Parameters given("replace", arguments, {"old", "new", "count"}, 2);
  const std::string text = TextOf(run, self);
  const std::string from = TextOf(run, given[0]);
  const std::string to = TextOf(run, given[1]);
  const std::int64_t count = given.Int(2, -1);
  run.budget().Require(ReplacedSize(text, from, to, count));
  return run.heap().NewString(ReplaceAll(text, from, to, count));
}

Value Indent(Interpreter& run, const Value& self, const Arguments& arguments) {
  constexpr std::int64_t kMaxIndent = 1000;
  const Parameters given("indent", arguments, {"width", "first", "blank"});
  if (self.is_undefined()) FailUndefined(self);
  if (!self.is_string())
    throw TemplateError("unsupported operand type(s) for +=: '" + std::string(self.TypeName()) +
                        "' and 'str'");
  std::string step;
  if (given.given(0) && given[0].is_string()) {
    step = given[0].text();
  } else {
    const std::int64_t width = given.Int(0, 4);
    if (width > kMaxIndent) throw TemplateError("an indent is too large");
    step = std::string(width > 0 ? static_cast<std::size_t>(width) : 0, ' ');
  }
  const std::string source = self.text() + "\n";
  std::string text = given.Bool(1, false) ? step : "";
  bool is_first = true;
  for (const std::string_view line : SplitLines(source, false)) {
    if (!is_first) text += '\n';
    if (!is_first && (given.Bool(2, false) || !line.empty())) text += step;
    is_first = false;
    text += line;
    run.budget().Step();
    run.budget().Require(text.size());
  }
  return Like(run, self, std::move(text));
}

Value Truncate(Interpreter& run, const Value& self, const Arguments& arguments) {
  const Parameters given("truncate", arguments, {"length", "killwords", "end", "leeway"});
  const std::string text = TextOf(run, self);
  const std::string_view end = given.Text(2, "...");
  const std::int64_t length = given.Int(0, 255);
  const std::int64_t leeway = given.Int(3, 5);
  const auto end_size = static_cast<std::int64_t>(CountChars(end));
  if (length < end_size || leeway < 0)
    throw TemplateError("truncate() got a length that is too small");
  const auto size = static_cast<std::int64_t>(CountChars(text));
  if (size <= length || size - length <= leeway) return Like(run, self, text);
  std::string kept = text.substr(0, ByteOffset(text, static_cast<std::size_t>(length - end_size)));
  const std::size_t space = kept.rfind(' ');
  if (!given.Bool(1, false) && space != std::string::npos) kept.resize(space);
  return Like(run, self, kept.append(end));
}

Value WordCount(Interpreter& run, const Value& self, const Arguments& arguments) {
  const Parameters given("wordcount", arguments, {});
  std::int64_t count = 0;
  bool in_word = false;
  const std::string text = TextOf(run, self);
  for (const std::string_view c : SplitChars(text)) {
    const bool separates =
        c.size() == 1 && c[0] != '_' && std::isalnum(static_cast<unsigned char>(c[0])) == 0;
    if (!separates && !in_word) ++count;
    in_word = !separates;
  }
  return Value::Int(count);
}

Value Center(Interpreter& run, const Value& self, const Arguments& arguments) {
  const Parameters given("center", arguments, {"width"});
  const Builtin center = FindStringMethod("center");
  Arguments width;
  width.positional.push_back(Value::Int(given.Int(0, 80)));
  return center.native(run, Like(run, self, TextOf(run, self)), width);
}

Value Escape(Interpreter& run, const Value& self, const Arguments& arguments) {
  const Parameters given("escape", arguments, {});
  if (self.is_markup()) return self;
  return run.heap().NewString(EscapeHtml(TextOf(run, self)), true);
}

Value ForceEscape(Interpreter& run, const Value& self, const Arguments& arguments) {
  const Parameters given("forceescape", arguments, {});
  return run.heap().NewString(EscapeHtml(TextOf(run, self)), true);
}

Value Safe(Interpreter& run, const Value& self, const Arguments& arguments) {
  const Parameters given("safe", arguments, {});
  return run.heap().NewString(TextOf(run, self), true);
}

Value ToText(Interpreter& run, const Value& self, const Arguments& arguments) {
  const Parameters given("string", arguments, {});
  return self.is_string() ? self : run.heap().NewString(TextOf(run, self));
}

Value PrettyPrint(Interpreter& run, const Value& self, const Arguments& arguments) {
  const Parameters given("pprint", arguments, {});
  return run.heap().NewString(Repr(run.heap(), self));
}

void AppendUrl(std::string& out, std::string_view text, bool keep_slash) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  constexpr std::string_view kPlain = "_.-~";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool alnum = byte < 0x80 && std::isalnum(byte) != 0;
    if (alnum || kPlain.find(c) != std::string_view::npos || (c == '/' && keep_slash)) {
      out.push_back(c);
    } else {
      out.push_back('%');
      out.push_back(kDigits[byte >> 4U]);
      out.push_back(kDigits[byte & 15U]);
    }
  }
}

Value UrlEncode(Interpreter& run, const Value& self, const Arguments& arguments) {
  const Parameters given("urlencode", arguments, {});
  std::string out;
  if (!self.is_dict() && !self.is(Kind::kSeq)) {
    AppendUrl(out, TextOf(run, self), true);
    return run.heap().NewString(std::move(out));
  }
  std::vector<std::pair<Value, Value>> pairs;
  if (self.is_dict()) {
    pairs = self.dict().entries;
  } else {
    for (const Value& pair : Iterate(run.heap(), self)) {
      const std::vector<Value> items = Iterate(run.heap(), pair);
      if (items.size() != 2) throw TemplateError("urlencode needs pairs");
      pairs.emplace_back(items[0], items[1]);
    }
  }
  for (const auto& [key, value] : pairs) {
    if (!out.empty()) out += '&';
    AppendUrl(out, TextOf(run, key), false);
    out += '=';
    AppendUrl(out, TextOf(run, value), false);
    run.budget().Require(out.size());
  }
  return run.heap().NewString(ReplaceAll(out, "%20", "+", -1));
}

Value Format(Interpreter& run, const Value& self, const Arguments& arguments) {
  const Value text = run.heap().NewString(TextOf(run, self), self.is_markup());
  if (arguments.named.empty())
    return PercentFormat(run.heap(), text, run.heap().NewTuple(arguments.positional));
  if (!arguments.positional.empty())
    throw TemplateError("can't handle positional and keyword arguments at the same time");
  const Value values = FindFunction("dict")(run, Value(), arguments);
  return PercentFormat(run.heap(), text, values);
}

// The styles of json.dumps(): separators depend on whether there is an indent.
Value ToJsonFilter(Interpreter& run, const Value& self, const Arguments& arguments) {
  constexpr std::int64_t kMaxIndent = 100;
  const Parameters given("tojson", arguments,
                         {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style;
  style.ascii_only = given.Bool(0, false);
  style.sort_keys = given.Bool(3, false);
  style.has_indent = given.given(1) && !given[1].is_none();
  if (style.has_indent) {
    style.item_separator = ",";
    if (given[1].is_string()) {
      style.indent = given[1].text();
    } else {
      const std::int64_t width = given.Int(1, 0);
      if (width > kMaxIndent) throw TemplateError("an indent of JSON is too large");
      style.indent = std::string(width > 0 ? static_cast<std::size_t>(width) : 0, ' ');
    }
  }
  if (given.given(2) && !given[2].is_none()) {
    const std::vector<Value> separators = Iterate(run.heap(), given[2]);
    if (separators.size() != 2 || !separators[0].is_string() || !separators[1].is_string())
      throw TemplateError("the separators of JSON must be two strings");
    style.item_separator = separators[0].text();
    style.key_separator = separators[1].text();
  }
  return run.heap().NewString(ToJson(run.heap(), self, style));
}

// -- numbers

std::optional<double> ParseReal(std::string_view text) {
  return ParseFloat(Strip(text, std::nullopt, true, true));
}

std::optional<std::int64_t> ParseWhole(std::string_view text, int base) {
  text = Strip(text, std::nullopt, true, true);
  if (text.starts_with('+')) text.remove_prefix(1);
  const bool negative = text.starts_with('-');
  if (negative) text.remove_prefix(1);
  const std::string_view prefix = base == 16 ? "0x" : base == 8 ? "0o" : base == 2 ? "0b" : "";
  if (!prefix.empty() && Lower(text.substr(0, 2)) == prefix) text.remove_prefix(2);
  std::int64_t value = 0;
  const std::string digits = (negative ? "-" : "") + std::string(text);
  const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
  if (parsed.ec != std::errc() || parsed.ptr != digits.data() + digits.size()) return std::nullopt;
  return value;
}

std::optional<std::int64_t> Whole(double value) {
  if (!std::isfinite(value) || std::fabs(value) >= 9.2e18) return std::nullopt;
  return static_cast<std::int64_t>(value);
}

Value ToInt(Interpreter& run, const Value& self, const Arguments& arguments) {
  const Parameters given("int", arguments, {"default", "base"});
  if (self.is_undefined()) FailUndefined(self);
  const Value fallback = given.Or(0, Value::Int(0));
  const std::int64_t base = given.Int(1, 10);
  if (base < 2 || base > 36) return fallback;
  std::optional<std::int64_t> value;
  if (self.is_string()) {
    run.budget().StepBytes(self.text().size());
    value = ParseWhole(self.text(), static_cast<int>(base));
    const auto real = value ? std::nullopt : ParseReal(self.text());
    if (real) value = Whole(*real);
  } else if (self.is_integral()) {
    value = self.integer();
  } else if (self.is(Kind::kFloat)) {
    value = Whole(self.number());
  }
  return value ? Value::Int(*value) : fallback;
}

Value ToFloat(Interpreter& run, const Value& self, const Arguments& arguments) {
  const Parameters given("float", arguments, {"default"});
  if (self.is_undefined()) FailUndefined(self);
  if (self.is_number()) return Value::Float(self.number());
  std::optional<double> value;
  if (self.is_string()) {
    run.budget().StepBytes(self.text().size());
    value = ParseReal(self.text());
  }
  return value ? Value::Float(*value) : given.Or(0, Value::Float(0.0));
}

[[noreturn]] void FailNumber(const Value& self, const char* what) {
  if (self.is_undefined()) FailUndefined(self);
  throw TemplateError(std::string(what) + " needs a number, not " + std::string(self.TypeName()));
}

Value Round(Interpreter&, const Value& self, const Arguments& arguments) {
  constexpr std::int64_t kMaxPrecision = 300;
  const Parameters given("round", arguments, {"precision", "method"});
  if (!self.is_number()) FailNumber(self, "round");
  const std::string_view method = given.Text(1, "common");
  const std::int64_t precision =
      std::clamp<std::int64_t>(given.Int(0, 0), -kMaxPrecision, kMaxPrecision);
  const double scale = std::pow(10.0, static_cast<double>(precision));
  if (method == "ceil" || method == "floor") {
    const double scaled = self.number() * scale;
    return Value::Float((method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale);
  }
  if (method != "common") throw TemplateError("method must be common, ceil or floor");
  if (self.is_integral() && precision >= 0) return Value::Int(self.integer());
  if (precision < 0) {
    const double rounded = std::nearbyint(self.number() * scale) / scale;
    const auto whole = self.is_integral() ? Whole(rounded) : std::nullopt;
    return whole ? Value::Int(*whole) : Value::Float(rounded);
  }
  if (!std::isfinite(self.number())) return self;
  // The exact value is rounded, as Python does.
  const std::string rounded = FormatFixed(self.number(), 'f', static_cast<int>(precision));
  return Value::Float(ParseFloat(rounded).value_or(self.number()));
}

Value Absolute(Interpreter&, const Value& self, const Arguments& arguments) {
  const Parameters given("abs", arguments, {});
  if (self.is(Kind::kFloat)) return Value::Float(std::fabs(self.number()));
  if (!self.is_integral()) FailNumber(self, "abs");
  return self.integer() < 0 ? Negate(self) : Value::Int(self.integer());
}

Value FileSize(Interpreter& run, const Value& self, const Arguments& arguments) {
  const Parameters given("filesizeformat", arguments, {"binary"});
  const bool binary = given.Bool(0, false);
  double bytes = 0.0;
  if (self.is_number()) {
    bytes = self.number();
  } else if (const auto parsed = ParseReal(TextOf(run, self))) {
    bytes = *parsed;
  } else {
    FailNumber(self, "filesizeformat");
  }
  const double base = binary ? 1024.0 : 1000.0;
  if (bytes == 1.0) return run.heap().NewString("1 Byte");
  if (bytes < base)
    return run.heap().NewString(std::to_string(Whole(bytes).value_or(0)) + " Bytes");
  std::size_t prefix = 0;
  double unit = base;
  for (; prefix < 7 && bytes >= unit * base; ++prefix) unit *= base;
  const std::string letter(1, (binary ? "KMGTPEZY" : "kMGTPEZY")[prefix]);
  return run.heap().NewString(FormatFixed(bytes / unit, 'f', 1) + " " + letter +
                              (binary ? "iB" : "B"));
}

Value Default(Interpreter& run, const Value& self, const Arguments& arguments) {
  const Parameters given("default", arguments, {"default_value", "boolean"});
  const bool keeps = !self.is_undefined() && (!given.Bool(1, false) || self.Truthy());
  if (keeps) return self;
  return given.given(0) ? given[0] : run.heap().NewString("");
}

constexpr Builtin kFilters[] = {
    {"tojson", ToJsonFilter},
    {"trim", Trim},
    {"default", Default},
    {"d", Default},
    {"string", ToText},
    {"safe", Safe},
    {"upper", Change<Upper>},
    {"lower", Change<Lower>},
    {"title", Change<TitleWords>},
    {"capitalize", Change<Capitalize>},
    {"replace", Replace},
    {"indent", Indent},
    {"int", ToInt},
    {"float", ToFloat},
    {"round", Round},
    {"abs", Absolute},
    {"format", Format},
    {"escape", Escape},
    {"e", Escape},
    {"forceescape", ForceEscape},
    {"truncate", Truncate},
    {"wordcount", WordCount},
    {"center", Center},
    {"pprint", PrettyPrint},
    {"urlencode", UrlEncode},
    {"filesizeformat", FileSize},
};

}  // namespace

NativeFunction FindStringFilter(std::string_view name) { return FindIn(kFilters, name).native; }

}  // namespace quire::jinja
