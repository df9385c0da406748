#include "text/jinja_format.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>
#include <vector>

#include "text/jinja_operators.h"
#include "text/jinja_strings.h"

namespace quire::jinja {
namespace {

constexpr std::size_t kMaxWidth = 10000;
constexpr int kMaxPrecision = 100;
constexpr int kMaxNesting = 2;  // of fields inside format specifications

// [[fill]align][sign][#][0][width][,][.precision][type], of which % formats use a part.
struct Spec {
  std::string fill = " ";
  char align = '\0';  // < > ^ =
  char sign = '-';
  bool alternate = false;
  bool comma = false;
  std::size_t width = 0;
  int precision = -1;
  char type = '\0';
};

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsOneOf(char c, std::string_view set) { return set.find(c) != std::string_view::npos; }

// A decimal number at the front of `text`, which is then cut; 0 where there is none.
std::size_t TakeNumber(std::string_view& text) {
  std::size_t number = 0;
  while (!text.empty() && IsDigit(text.front())) {
    number = std::min(number * 10 + static_cast<std::size_t>(text.front() - '0'), kMaxWidth + 1);
    text.remove_prefix(1);
  }
  if (number > kMaxWidth) throw TemplateError("a width in a format is too large");
  return number;
}

bool TakeChar(std::string_view& text, char c) {
  if (text.empty() || text.front() != c) return false;
  text.remove_prefix(1);
  return true;
}

std::string Pad(std::string body, const Spec& spec, char usual_align) {
  const std::size_t size = CountChars(body);
  if (size >= spec.width) return body;
  const std::size_t missing = spec.width - size;
  const char align = spec.align == '\0' ? usual_align : spec.align;
  const std::size_t before = align == '<' ? 0 : align == '^' ? missing / 2 : missing;
  std::string padding;
  for (std::size_t i = 0; i < before; ++i) padding += spec.fill;
  if (align == '=') {
    const std::size_t sign = !body.empty() && IsOneOf(body[0], "+- ") ? 1 : 0;
    return body.substr(0, sign) + padding + body.substr(sign);
  }
  std::string out = padding + body;
  for (std::size_t i = before; i < missing; ++i) out += spec.fill;
  return out;
}

void InsertCommas(std::string& digits) {
  const std::size_t whole = std::min(digits.find('.'), digits.size());
  for (std::size_t at = whole; at > 3;) {
    at -= 3;
    digits.insert(at, ",");
  }
}

std::string WithSign(std::string digits, bool negative, const Spec& spec) {
  if (spec.comma) InsertCommas(digits);
  const std::string sign = negative ? "-" : spec.sign == '-' ? "" : std::string(1, spec.sign);
  return sign + digits;
}

std::string FormatInteger(std::int64_t value, const Spec& spec) {
  auto size = value < 0 ? 0 - static_cast<std::uint64_t>(value) : static_cast<std::uint64_t>(value);
  const unsigned base = IsOneOf(spec.type, "xX") ? 16
                        : spec.type == 'o'       ? 8
                        : spec.type == 'b'       ? 2
                                                 : 10;
  const std::string_view alphabet = spec.type == 'X' ? "0123456789ABCDEF" : "0123456789abcdef";
  std::string digits;
  do {
    digits.push_back(alphabet[size % base]);
    size /= base;
  } while (size > 0);
  while (spec.precision > static_cast<int>(digits.size())) digits.push_back('0');
  std::reverse(digits.begin(), digits.end());
  if (spec.alternate && base != 10) digits = std::string("0") + spec.type + digits;
  return WithSign(std::move(digits), value < 0, spec);
}

std::string FormatReal(double value, const Spec& spec) {
  const double size = std::fabs(value);
  const bool negative = std::signbit(value);
  if (spec.type == '\0' && spec.precision < 0) return WithSign(FormatFloat(size), negative, spec);
  const int precision = spec.precision < 0 ? 6 : spec.precision;
  const char type = spec.type == '%' ? 'f' : spec.type == '\0' ? 'g' : spec.type;
  const double shown = spec.type == '%' ? size * 100.0 : size;
  std::string digits = FormatFixed(shown, type, precision);
  if (spec.type == '%') digits += '%';
  return WithSign(std::move(digits), negative, spec);
}

std::string Shorten(std::string text, const Spec& spec) {
  if (spec.precision >= 0) text.resize(ByteOffset(text, static_cast<std::size_t>(spec.precision)));
  return text;
}

int CheckPrecision(std::size_t precision) {
  if (precision > static_cast<std::size_t>(kMaxPrecision))
    throw TemplateError("a precision in a format is too large");
  return static_cast<int>(precision);
}

// -- "…" % values

// The values of one % operation in their order.
class PercentArguments {
 public:
  explicit PercentArguments(const Value& value) : value_(value) {
    is_tuple_ = value.is_seq(SeqType::kTuple) || value.is_seq(SeqType::kGroup);
  }
  Value Next() {
    const std::size_t size = is_tuple_ ? value_.seq().items.size() : 1;
    if (next_ >= size) throw TemplateError("not enough arguments for format string");
    ++next_;
    return is_tuple_ ? value_.seq().items[next_ - 1] : value_;
  }
  Value Key(Heap& heap, const std::string& key) {
    if (!value_.is_dict()) throw TemplateError("format requires a mapping");
    next_ = 1;
    const Value* found = value_.dict().Find(key);
    heap.budget().Step(1 + value_.dict().entries.size() / 16);
    if (found == nullptr) throw TemplateError("a key of the format string does not exist");
    return *found;
  }
  bool AllUsed() const {
    return is_tuple_ ? next_ >= value_.seq().items.size() : next_ > 0 || value_.is_dict();
  }

 private:
  const Value& value_;
  bool is_tuple_ = false;
  std::size_t next_ = 0;
};

// An integer for %d and friends, which take floats as well.
std::int64_t WholeNumber(const Value& value, char type) {
  if (value.is_undefined()) FailUndefined(value);
  if (value.is_integral()) return value.integer();
  if (value.is(Kind::kFloat) && type == 'd' && std::fabs(value.number()) < 9e18)
    return static_cast<std::int64_t>(value.number());
  throw TemplateError(std::string("%") + type + " format: a real number is required, not " +
                      std::string(value.TypeName()));
}

std::string PercentValue(Heap& heap, const Value& value, Spec spec) {
  switch (spec.type) {
    case 's':
      return Pad(Shorten(Print(heap, value), spec), spec, '>');
    case 'r':
    case 'a':
      return Pad(Shorten(Repr(heap, value), spec), spec, '>');
    case 'c':
      return Pad(Print(heap, value), spec, '>');
    case 'd':
    case 'i':
    case 'u':
      spec.type = 'd';
      [[fallthrough]];
    case 'x':
    case 'X':
    case 'o':
      return Pad(FormatInteger(WholeNumber(value, spec.type), spec), spec, '>');
    default:
      break;
  }
  if (!IsOneOf(spec.type, "eEfFgG")) throw TemplateError("unsupported format character");
  if (value.is_undefined()) FailUndefined(value);
  if (!value.is_number())
    throw TemplateError("must be real number, not " + std::string(value.TypeName()));
  return Pad(FormatReal(value.number(), spec), spec, '>');
}

std::size_t TakeWidth(std::string_view& rest, PercentArguments& values) {
  if (!TakeChar(rest, '*')) return TakeNumber(rest);
  const Value width = values.Next();
  if (!width.is_integral() || width.integer() < 0 ||
      width.integer() > static_cast<std::int64_t>(kMaxWidth))
    throw TemplateError("a width in a format is no small number");
  return static_cast<std::size_t>(width.integer());
}

std::optional<std::string> TakeKey(std::string_view& rest) {
  if (!TakeChar(rest, '(')) return std::nullopt;
  const std::size_t end = rest.find(')');
  if (end == std::string_view::npos) throw TemplateError("incomplete format key");
  std::string key(rest.substr(0, end));
  rest.remove_prefix(end + 1);
  return key;
}

// Flags, width, precision and type behind a %.
Spec TakePercentSpec(std::string_view& rest, PercentArguments& values) {
  Spec spec;
  for (; !rest.empty() && IsOneOf(rest.front(), "-+ #0"); rest.remove_prefix(1)) {
    const char flag = rest.front();
    if (flag == '-') spec.align = '<';
    if (flag == '0' && spec.align == '\0') spec.align = '=';
    if (flag == '+' || (flag == ' ' && spec.sign == '-')) spec.sign = flag;
    if (flag == '#') spec.alternate = true;
  }
  spec.width = TakeWidth(rest, values);
  if (TakeChar(rest, '.')) spec.precision = CheckPrecision(TakeWidth(rest, values));
  if (rest.empty()) throw TemplateError("incomplete format");
  spec.type = rest.front();
  rest.remove_prefix(1);
  if (spec.align == '=') {
    const bool is_text = IsOneOf(spec.type, "srac");
    spec.align = is_text ? '\0' : '=';
    spec.fill = is_text ? " " : "0";
  }
  return spec;
}

// -- "…".format(values)

Spec ParseSpec(std::string_view text) {
  Spec spec;
  const std::size_t first = text.empty() ? 0 : ByteOffset(text, 1);
  if (first < text.size() && IsOneOf(text[first], "<>^=")) {
    spec.fill = std::string(text.substr(0, first));
    spec.align = text[first];
    text.remove_prefix(first + 1);
  } else if (!text.empty() && IsOneOf(text.front(), "<>^=")) {
    spec.align = text.front();
    text.remove_prefix(1);
  }
  if (!text.empty() && IsOneOf(text.front(), "+- ")) {
    spec.sign = text.front();
    text.remove_prefix(1);
  }
  spec.alternate = TakeChar(text, '#');
  if (TakeChar(text, '0') && spec.align == '\0') {
    spec.fill = "0";
    spec.align = '=';
  }
  spec.width = TakeNumber(text);
  spec.comma = TakeChar(text, ',');
  if (TakeChar(text, '.')) spec.precision = CheckPrecision(TakeNumber(text));
  if (!text.empty()) {
    spec.type = text.front();
    text.remove_prefix(1);
  }
  if (!text.empty() || (spec.type != '\0' && !IsOneOf(spec.type, "bdoxXneEfFgGs%")))
    throw TemplateError("Invalid format specifier");
  return spec;
}

std::string FormatOne(Heap& heap, const Value& value, std::string_view text) {
  if (text.empty()) return Print(heap, value);
  const Spec spec = ParseSpec(text);
  const bool real_type = spec.type != '\0' && IsOneOf(spec.type, "eEfFgG%");
  if (value.is_number() && spec.type != 's') {
    if (value.is(Kind::kFloat) || real_type)
      return Pad(FormatReal(value.number(), spec), spec, '>');
    if (!value.is(Kind::kBool) || spec.type != '\0')
      return Pad(FormatInteger(value.integer(), spec), spec, '>');
  }
  if (spec.type != '\0' && spec.type != 's')
    throw TemplateError("Unknown format code for object of type '" + std::string(value.TypeName()) +
                        "'");
  return Pad(Shorten(Print(heap, value), spec), spec, '<');
}

// Reads one format string; owns the text so far.
class BraceFormatter {
 public:
  BraceFormatter(Heap& heap, const Arguments& arguments) : heap_(heap), arguments_(arguments) {}

  std::string Run(std::string_view format, int depth = 0) {
    if (depth > kMaxNesting) throw TemplateError("Max string recursion exceeded");
    std::string out;
    while (!format.empty()) {
      heap_.budget().Step();
      heap_.budget().Require(out.size());
      const std::size_t brace = std::min(format.find_first_of("{}"), format.size());
      out += format.substr(0, brace);
      format.remove_prefix(brace);
      if (format.empty()) break;
      if (format.size() > 1 && format[1] == format[0]) {
        out.push_back(format[0]);
        format.remove_prefix(2);
      } else if (format[0] == '}') {
        throw TemplateError("Single '}' encountered in format string");
      } else {
        out += Field(format, depth);
      }
    }
    return out;
  }

 private:
  std::string Field(std::string_view& format, int depth) {
    std::size_t end = 1;
    for (int open = 1; end < format.size(); ++end) {
      if (format[end] == '{') ++open;
      if (format[end] == '}' && --open == 0) break;
    }
    if (end >= format.size()) throw TemplateError("expected '}' before end of string");
    std::string_view field = format.substr(1, end - 1);
    format.remove_prefix(end + 1);
    const std::size_t colon = std::min(field.find(':'), field.size());
    std::string_view name = field.substr(0, colon);
    char conversion = '\0';
    if (name.size() >= 2 && name[name.size() - 2] == '!') {
      conversion = name.back();
      name.remove_suffix(2);
    }
    Value value = Lookup(name);
    if (conversion != '\0')
      value = heap_.NewString(conversion == 's' ? Print(heap_, value) : Repr(heap_, value));
    const std::string_view spec =
        colon < field.size() ? field.substr(colon + 1) : std::string_view();
    return FormatOne(heap_, value, Run(spec, depth + 1));
  }

  Value Lookup(std::string_view name) {
    const std::size_t end = std::min(name.find_first_of(".["), name.size());
    Value value = First(name.substr(0, end));
    name.remove_prefix(end);
    while (!name.empty()) {
      const bool attribute = name.front() == '.';
      name.remove_prefix(1);
      const std::size_t stop = std::min(name.find_first_of(attribute ? ".[" : "]"), name.size());
      std::string_view key = name.substr(0, stop);
      name.remove_prefix(std::min(name.size(), stop + (attribute ? 0 : 1)));
      const bool index = !attribute && !key.empty() && std::all_of(key.begin(), key.end(), IsDigit);
      value = GetItem(heap_, value,
                      index ? Value::Int(static_cast<std::int64_t>(TakeNumber(key)))
                            : heap_.NewString(std::string(key)));
    }
    return value;
  }

  Value First(std::string_view name) {
    if (!name.empty() && !std::all_of(name.begin(), name.end(), IsDigit)) {
      for (const auto& [key, value] : arguments_.named)
        if (key == name) return value;
      throw TemplateError("a name of the format string was not given");
    }
    const std::size_t index = name.empty() ? next_++ : TakeNumber(name);
    if (index >= arguments_.positional.size())
      throw TemplateError("Replacement index out of range for positional args tuple");
    return arguments_.positional[index];
  }

  Heap& heap_;
  const Arguments& arguments_;
  std::size_t next_ = 0;
};

}  // namespace

Value PercentFormat(Heap& heap, const Value& format, const Value& arguments) {
  PercentArguments values(arguments);
  std::string out;
  std::string_view rest = format.text();
  while (!rest.empty()) {
    heap.budget().Step();
    heap.budget().Require(out.size());
    const std::size_t percent = std::min(rest.find('%'), rest.size());
    out += rest.substr(0, percent);
    rest.remove_prefix(percent);
    if (!TakeChar(rest, '%')) break;
    if (TakeChar(rest, '%')) {
      out.push_back('%');
      continue;
    }
    const std::optional<std::string> key = TakeKey(rest);
    const Spec spec = TakePercentSpec(rest, values);
    out += PercentValue(heap, key ? values.Key(heap, *key) : values.Next(), spec);
  }
  if (!values.AllUsed())
    throw TemplateError("not all arguments converted during string formatting");
  return heap.NewString(std::move(out), format.is_markup());
}

Value BraceFormat(Heap& heap, std::string_view format, const Arguments& arguments) {
  return heap.NewString(BraceFormatter(heap, arguments).Run(format));
}

}  // namespace quire::jinja
