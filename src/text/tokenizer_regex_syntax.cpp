#include "text/tokenizer_regex_syntax.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace quire {
namespace {

// White_Space of Unicode, which is what \s is there. PCRE2's own \s has U+180E besides.
constexpr std::string_view kSpaces =
    R"(\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
constexpr int kMaxClassDepth = 16;

struct NewCharacters {
  std::string_view category;
  std::string_view ranges;
};

// What Unicode 15, 15.1 and 16 added to the general categories and to one script: the library knows
// them, PCRE2 10.42 does not.
constexpr NewCharacters kNewCharacters[] = {
    {"Han", R"(\x{2b739}\x{2ebf0}-\x{2ee5d}\x{31350}-\x{323af})"},
    {"Lu", R"(\x{1c89}\x{a7cb}-\x{a7cc}\x{a7da}\x{a7dc}\x{10d50}-\x{10d65})"},
    {"Ll", R"(\x{1c8a}\x{a7cd}\x{a7db}\x{10d70}-\x{10d85}\x{1df25}-\x{1df2a})"},
    {"Lm", R"(\x{10d4e}\x{10d6f}\x{16d40}-\x{16d42}\x{16d6b}-\x{16d6c}\x{1e030}-\x{1e06d})"
           R"(\x{1e4eb})"},
    {"Lo", R"(\x{105c0}-\x{105f3}\x{10d4a}-\x{10d4d}\x{10d4f}\x{10ec2}-\x{10ec4})"
           R"(\x{1123f}-\x{11240}\x{11380}-\x{11389}\x{1138b}\x{1138e}\x{11390}-\x{113b5})"
           R"(\x{113b7}\x{113d1}\x{113d3}\x{11bc0}-\x{11be0}\x{11f02}\x{11f04}-\x{11f10})"
           R"(\x{11f12}-\x{11f33}\x{1342f}\x{13441}-\x{13446}\x{13460}-\x{143fa})"
           R"(\x{16100}-\x{1611d}\x{16d43}-\x{16d6a}\x{18cff}\x{1b132}\x{1b155})"
           R"(\x{1e4d0}-\x{1e4ea}\x{1e5d0}-\x{1e5ed}\x{1e5f0}\x{2b739}\x{2ebf0}-\x{2ee5d})"
           R"(\x{31350}-\x{323af})"},
    {"Mn", R"(\x{897}\x{ece}\x{10d69}-\x{10d6d}\x{10efc}-\x{10eff}\x{11241})"
           R"(\x{113bb}-\x{113c0}\x{113ce}\x{113d0}\x{113d2}\x{113e1}-\x{113e2})"
           R"(\x{11f00}-\x{11f01}\x{11f36}-\x{11f3a}\x{11f40}\x{11f42}\x{11f5a}\x{13440})"
           R"(\x{13447}-\x{13455}\x{1611e}-\x{16129}\x{1612d}-\x{1612f}\x{1e08f})"
           R"(\x{1e4ec}-\x{1e4ef}\x{1e5ee}-\x{1e5ef})"},
    {"Mc", R"(\x{cf3}\x{113b8}-\x{113ba}\x{113c2}\x{113c5}\x{113c7}-\x{113ca})"
           R"(\x{113cc}-\x{113cd}\x{113cf}\x{1171e}\x{11f03}\x{11f34}-\x{11f35})"
           R"(\x{11f3e}-\x{11f3f}\x{11f41}\x{1612a}-\x{1612c})"},
    {"Nd", R"(\x{10d40}-\x{10d49}\x{116d0}-\x{116e3}\x{11bf0}-\x{11bf9}\x{11f50}-\x{11f59})"
           R"(\x{16130}-\x{16139}\x{16d70}-\x{16d79}\x{1ccf0}-\x{1ccf9}\x{1e4f0}-\x{1e4f9})"
           R"(\x{1e5f1}-\x{1e5fa})"},
    {"No", R"(\x{1d2c0}-\x{1d2d3})"},
    {"Pd", R"(\x{10d6e})"},
    {"Po", R"(\x{1b4e}-\x{1b4f}\x{1b7f}\x{113d4}-\x{113d5}\x{113d7}-\x{113d8})"
           R"(\x{11b00}-\x{11b09}\x{11be1}\x{11f43}-\x{11f4f}\x{16d6d}-\x{16d6f}\x{1e5ff})"},
    {"Sm", R"(\x{10d8e}-\x{10d8f})"},
    {"So", R"(\x{2427}-\x{2429}\x{2ffc}-\x{2fff}\x{31e4}-\x{31e5}\x{31ef}\x{1cc00}-\x{1ccef})"
           R"(\x{1cd00}-\x{1ceb3}\x{1f6dc}\x{1f774}-\x{1f776}\x{1f77b}-\x{1f77f}\x{1f7d9})"
           R"(\x{1f8b2}-\x{1f8bb}\x{1f8c0}-\x{1f8c1}\x{1fa75}-\x{1fa77}\x{1fa87}-\x{1fa89})"
           R"(\x{1fa8f}\x{1faad}-\x{1faaf}\x{1fabb}-\x{1fabf}\x{1fac6}\x{1face}-\x{1facf})"
           R"(\x{1fada}-\x{1fadc}\x{1fadf}\x{1fae8}-\x{1fae9}\x{1faf7}-\x{1faf8})"
           R"(\x{1fbcb}-\x{1fbef})"},
    {"Cf", R"(\x{13439}-\x{1343f})"},
};

bool IsCategory(std::string_view name) {
  return (name.size() == 1 || name.size() == 2) &&
         std::string_view("CLMNPSZ").find(name[0]) != name.npos;
}

// The members of a property as the inside of a class. Other names than categories are scripts,
// which PCRE2 would read as script extensions.
std::string Property(std::string_view name) {
  std::string items = (IsCategory(name) ? "\\p{" : "\\p{sc:") + std::string(name) + "}";
  for (const NewCharacters& added : kNewCharacters)
    if (IsCategory(name) ? added.category.starts_with(name) : added.category == name)
      items += added.ranges;
  return items;
}

// Letters, marks, digits and connectors; and symbols that count as letters (circled Latin ones and
// the like).
std::string WordCharacters() {
  return Property("L") + Property("M") + Property("Nd") + Property("Nl") + Property("Pc") +
         R"(\x{b2}\x{b3}\x{b9}\x{bc}-\x{be}\x{24b6}-\x{24e9}\x{1f130}-\x{1f149}\x{1f150}-\x{1f169}\x{1f170}-\x{1f189})";
}

// Rewrites one pattern from left to right.
class Translator {
 public:
  explicit Translator(std::string_view pattern) : rest_(pattern) {}

  Result<std::string> Run() {
    std::string out;
    while (!rest_.empty() && !fault_) {
      const char c = rest_[0];
      if (c == '[') {
        out += Class(0).expression;
      } else if (c == '\\') {
        const Escaped escaped = Escape();
        out +=
            escaped.is_class ? (escaped.negated ? "[^" : "[") + escaped.text + "]" : escaped.text;
      } else if (c == '{') {
        out += Interval();
      } else if (rest_.starts_with("(?")) {
        out += GroupStart();
      } else {
        out += Take(1);
      }
    }
    if (fault_) return ModelFault(*fault_);
    return out;
  }

 private:
  struct Escaped {
    std::string text;  // the inside of a class where is_class
    bool is_class = false;
    bool negated = false;
  };
  struct CharacterClass {
    std::string expression;            // matches one character
    std::optional<std::string> items;  // where it is a plain "[items]"
  };

  std::string_view Take(std::size_t count) {
    const std::string_view taken = rest_.substr(0, count);
    rest_.remove_prefix(taken.size());
    return taken;
  }

  void Fail(std::string message) {
    if (!fault_) fault_ = std::move(message);
    rest_ = {};
  }

  // At a backslash.
  Escaped Escape() {
    if (rest_.size() < 2) return {std::string(Take(1))};
    const char kind = rest_[1];
    switch (kind) {
      case 's':
      case 'S':
        Take(2);
        return {std::string(kSpaces), true, kind == 'S'};
      case 'd':
      case 'D':
        Take(2);
        return {Property("Nd"), true, kind == 'D'};
      case 'w':
      case 'W':
        Take(2);
        return {WordCharacters(), true, kind == 'W'};
      case 'h':
      case 'H':
        Take(2);
        return {"0-9a-fA-F", true, kind == 'H'};
      case 'p':
      case 'P':
        return EscapedProperty();
      case 'u':
        if (rest_.size() < 6) return {std::string(Take(2))};
        Take(2);
        return {"\\x{" + std::string(Take(4)) + "}"};
      default:
        return {std::string(Take(2))};
    }
  }

  Escaped EscapedProperty() {
    const std::size_t close = rest_.find('}');
    if (close == rest_.npos || rest_[2] != '{') {
      Fail("a property without braces");
      return {};
    }
    bool negated = rest_[1] == 'P';
    std::string_view name = Take(close + 1).substr(3);
    name.remove_suffix(1);
    if (name.starts_with('^')) {
      negated = !negated;
      name.remove_prefix(1);
    }
    return {Property(name), true, negated};
  }

  // At the bracket that opens a class. Nested classes are unions there, and "&&" is an
  // intersection.
  CharacterClass Class(int depth) {
    if (depth >= kMaxClassDepth) {
      Fail("classes nested too deeply");
      return {};
    }
    Take(1);
    const bool negated = rest_.starts_with('^');
    if (negated) Take(1);
    std::vector<std::string> operands;
    std::string items;
    std::vector<std::string> others;  // members that cannot stand among the items
    if (rest_.starts_with(']')) items += "\\" + std::string(Take(1));
    auto finish_operand = [&] {
      if (!items.empty()) others.insert(others.begin(), "[" + items + "]");
      std::string joined;
      for (const std::string& other : others) joined += (joined.empty() ? "" : "|") + other;
      operands.push_back(others.size() == 1 ? others[0] : "(?:" + joined + ")");
    };
    while (!rest_.empty() && rest_[0] != ']') {
      if (rest_.starts_with("&&")) {
        Take(2);
        finish_operand();
        items.clear();
        others.clear();
      } else {
        ClassMember(depth, items, others);
      }
    }
    if (rest_.empty()) Fail("a class without an end");
    Take(1);
    if (operands.empty() && others.empty())
      return {(negated ? "[^" : "[") + items + "]",
              negated ? std::nullopt : std::optional<std::string>(items)};
    finish_operand();
    std::string both;
    for (std::size_t i = 1; i < operands.size(); ++i) both += "(?=" + operands[i] + ")";
    both += operands[0];
    return {negated ? "(?:(?!" + both + ")(?s:.))" : "(?:" + both + ")", std::nullopt};
  }

  void ClassMember(int depth, std::string& items, std::vector<std::string>& others) {
    if (rest_.starts_with("[:")) {
      const std::size_t end = rest_.find(":]");
      items += Take(end == rest_.npos ? 2 : end + 2);
    } else if (rest_[0] == '[') {
      CharacterClass nested = Class(depth + 1);
      if (nested.items) {
        items += *nested.items;
      } else {
        others.push_back(std::move(nested.expression));
      }
    } else if (rest_[0] == '\\') {
      const bool not_space = rest_.starts_with("\\S");
      const Escaped escaped = Escape();
      if (not_space) {
        items += R"(\S\x{180e})";  // without a slow alternative, for the common [^\S\n]
      } else if (escaped.negated) {
        others.push_back("[^" + escaped.text + "]");
      } else {
        items += escaped.text;
      }
    } else {
      items += Take(1);
    }
  }

  // At a brace: {n}, {n,}, {,m} or {n,m}; otherwise a plain character. A plus behind it repeats
  // there, it is not possessive.
  std::string Interval() {
    const std::size_t close = rest_.find('}');
    if (close == rest_.npos) return std::string(Take(1));
    const std::string_view inside = rest_.substr(1, close - 1);
    const std::size_t comma = inside.find(',');
    const std::optional<std::uint32_t> low = Number(inside.substr(0, comma), 0);
    const std::optional<std::uint32_t> high =
        comma == inside.npos ? low : Number(inside.substr(comma + 1), UINT32_MAX);
    if (!low || !high || inside.empty() || inside == ",") return std::string(Take(1));
    Take(close + 1);
    const bool open = *high == UINT32_MAX;
    if (rest_.starts_with('+')) {
      Take(1);
      if (!open && *low > 0 && std::uint64_t{*high} + 1 < 2 * std::uint64_t{*low})
        Fail("a repeated interval");
      return "{" + std::to_string(*low) + ",}";
    }
    if (comma == inside.npos) return "{" + std::to_string(*low) + "}";
    return "{" + std::to_string(*low) + "," + (open ? "" : std::to_string(*high)) + "}";
  }

  static std::optional<std::uint32_t> Number(std::string_view digits, std::uint32_t if_empty) {
    if (digits.empty()) return if_empty;
    std::uint32_t number = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    if (error != std::errc() || end != digits.data() + digits.size() || number > 65535)
      return std::nullopt;
    return number;
  }

  // At "(?". The option m lets the dot match line ends there.
  std::string GroupStart() {
    std::string out(Take(2));
    while (!rest_.empty() && std::string_view("imx-").find(rest_[0]) != std::string_view::npos) {
      const char option = Take(1)[0];
      out += option == 'm' ? 's' : option;
    }
    return out;
  }

  std::string_view rest_;
  std::optional<std::string> fault_;
};

}  // namespace

Result<std::string> OnigurumaToPcre2(std::string_view pattern) { return Translator(pattern).Run(); }

}  // namespace quire
