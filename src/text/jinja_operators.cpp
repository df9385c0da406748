#include "text/jinja_operators.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "text/jinja_format.h"
#include "text/jinja_strings.h"

namespace quire::jinja {
namespace {

constexpr int kMaxDepth = 100;  // of values that hold values

void CheckDepth(int depth) {
  if (depth > kMaxDepth) throw TemplateError("a value is nested too deeply");
}

std::string_view Symbol(Operator op) {
  constexpr std::string_view kSymbols[] = {"+",  "-", "*",  "/", "//", "%",  "** or pow()", "==",
                                           "!=", "<", "<=", ">", ">=", "in", "not in"};
  return kSymbols[static_cast<std::size_t>(op)];
}

[[noreturn]] void FailOperands(Operator op, const Value& a, const Value& b) {
  if (a.is_undefined()) FailUndefined(a);
  if (b.is_undefined()) FailUndefined(b);
  const std::string left(a.TypeName());
  const std::string right(b.TypeName());
  if (op == Operator::kAdd &&
      (a.is_string() || a.is_seq(SeqType::kList) || a.is_seq(SeqType::kTuple)))
    throw TemplateError("can only concatenate " + left + " (not \"" + right + "\") to " + left);
  throw TemplateError("unsupported operand type(s) for " + std::string(Symbol(op)) + ": '" + left +
                      "' and '" + right + "'");
}

bool IsListLike(const Value& value) {
  if (!value.is(Kind::kSeq)) return false;
  const SeqType type = value.seq().type;
  return type == SeqType::kList || type == SeqType::kTuple || type == SeqType::kGroup;
}

// Lists equal lists, tuples (groups are such) tuples.
bool SameSeqFamily(const Value& a, const Value& b) {
  return IsListLike(a) && IsListLike(b) && a.is_seq(SeqType::kList) == b.is_seq(SeqType::kList);
}

bool EqualDicts(Heap& heap, const Dict& a, const Dict& b, int depth) {
  if (a.entries.size() != b.entries.size()) return false;
  return std::all_of(a.entries.begin(), a.entries.end(), [&](const auto& entry) {
    const Value* other = FindKey(heap, b, entry.first);
    return other != nullptr && Equal(heap, entry.second, *other, depth);
  });
}

Value Concatenate(Heap& heap, const Value& a, const Value& b) {
  if (a.is_string() && b.is_string()) {
    const bool markup = a.is_markup() || b.is_markup();
    std::string out = markup && !a.is_markup() ? EscapeHtml(a.text()) : a.text();
    heap.budget().Require(out.size() + b.text().size());
    out += markup && !b.is_markup() ? EscapeHtml(b.text()) : b.text();
    return heap.NewString(std::move(out), markup);
  }
  if (!SameSeqFamily(a, b)) FailOperands(Operator::kAdd, a, b);
  std::vector<Value> items = a.seq().items;
  items.insert(items.end(), b.seq().items.begin(), b.seq().items.end());
  return heap.NewSeq(a.is_seq(SeqType::kList) ? SeqType::kList : SeqType::kTuple, std::move(items));
}

Value Repeat(Heap& heap, const Value& a, std::int64_t times) {
  const std::size_t count = times < 0 ? 0 : static_cast<std::size_t>(times);
  const std::size_t unit = a.is_string() ? a.text().size() : a.seq().items.size() * sizeof(Value);
  if (unit != 0)
    heap.budget().Require(count > heap.budget().limits().memory_bytes / unit
                              ? std::numeric_limits<std::size_t>::max()
                              : count * unit);
  if (a.is_string()) {
    std::string out;
    out.reserve(count * unit);
    for (std::size_t i = 0; i < count && unit != 0; ++i) out += a.text();
    return heap.NewString(std::move(out), a.is_markup());
  }
  std::vector<Value> items;
  for (std::size_t i = 0; i < count && unit != 0; ++i)
    items.insert(items.end(), a.seq().items.begin(), a.seq().items.end());
  return heap.NewSeq(a.seq().type, std::move(items));
}

[[noreturn]] void FailZero(std::string_view what) { throw TemplateError(std::string(what)); }

Value IntegerPower(std::int64_t base, std::int64_t exponent) {
  if (exponent < 0) {
    if (base == 0) FailZero("0.0 cannot be raised to a negative power");
    return Value::Float(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
  }
  std::int64_t result = 1;
  bool overflow = false;
  for (; exponent > 0 && !overflow; exponent >>= 1) {
    if ((exponent & 1) != 0) overflow = __builtin_mul_overflow(result, base, &result);
    if (exponent > 1) overflow |= __builtin_mul_overflow(base, base, &base);
  }
  if (overflow) throw TemplateError("an integer gets too large");
  return Value::Int(result);
}

Value IntegerArithmetic(Operator op, std::int64_t a, std::int64_t b) {
  std::int64_t result = 0;
  bool overflow = false;
  switch (op) {
    case Operator::kAdd:
      overflow = __builtin_add_overflow(a, b, &result);
      break;
    case Operator::kSubtract:
      overflow = __builtin_sub_overflow(a, b, &result);
      break;
    case Operator::kMultiply:
      overflow = __builtin_mul_overflow(a, b, &result);
      break;
    case Operator::kDivide:
      if (b == 0) FailZero("division by zero");
      return Value::Float(static_cast<double>(a) / static_cast<double>(b));
    case Operator::kFloorDivide:
    case Operator::kModulo: {
      if (b == 0) FailZero("integer division or modulo by zero");
      if (b == -1) {  // the one quotient that may not fit
        if (op == Operator::kModulo) return Value::Int(0);
        overflow = __builtin_sub_overflow(std::int64_t{0}, a, &result);
        break;
      }
      const bool round_down = a % b != 0 && (a < 0) != (b < 0);
      if (op == Operator::kModulo) return Value::Int(a % b + (round_down ? b : 0));
      return Value::Int(a / b - (round_down ? 1 : 0));
    }
    default:
      return IntegerPower(a, b);
  }
  if (overflow) throw TemplateError("an integer gets too large");
  return Value::Int(result);
}

Value FloatArithmetic(Operator op, double a, double b) {
  switch (op) {
    case Operator::kAdd:
      return Value::Float(a + b);
    case Operator::kSubtract:
      return Value::Float(a - b);
    case Operator::kMultiply:
      return Value::Float(a * b);
    case Operator::kDivide:
      if (b == 0.0) FailZero("float division by zero");
      return Value::Float(a / b);
    case Operator::kFloorDivide:
      if (b == 0.0) FailZero("float floor division by zero");
      return Value::Float(std::floor(a / b));
    case Operator::kModulo: {
      if (b == 0.0) FailZero("float modulo");
      const double rest = std::fmod(a, b);
      return Value::Float(rest != 0.0 && (rest < 0.0) != (b < 0.0) ? rest + b : rest);
    }
    default: {
      const double power = std::pow(a, b);
      if (std::isnan(power) && !std::isnan(a) && !std::isnan(b))
        throw TemplateError("complex numbers are not supported");
      return Value::Float(power);
    }
  }
}

bool Holds(Operator op, int order) {
  switch (op) {
    case Operator::kLess:
      return order < 0;
    case Operator::kLessEqual:
      return order <= 0;
    case Operator::kGreater:
      return order > 0;
    default:
      return order >= 0;
  }
}

bool OrderedNumbers(Operator op, const Value& a, const Value& b) {
  if (a.is_integral() && b.is_integral())
    return Holds(op, a.integer() < b.integer() ? -1 : a.integer() > b.integer() ? 1 : 0);
  const double x = a.number();
  const double y = b.number();
  if (std::isnan(x) || std::isnan(y)) return false;
  return Holds(op, x < y ? -1 : x > y ? 1 : 0);
}

}  // namespace

void FailUndefined(const Value& value) { throw TemplateError(value.UndefinedMessage()); }

bool Equal(Heap& heap, const Value& a, const Value& b, int depth) {
  CheckDepth(depth);
  heap.budget().Step();
  if (a.is_number() && b.is_number()) {
    if (a.is_integral() && b.is_integral()) return a.integer() == b.integer();
    return a.number() == b.number();
  }
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Kind::kString:
      heap.budget().StepBytes(a.text().size() == b.text().size() ? a.text().size() : 0);
      return a.text() == b.text();
    case Kind::kSeq: {
      if (a.identity() == b.identity()) return true;
      if (!SameSeqFamily(a, b))
        return a.is_seq(SeqType::kRange) && b.is_seq(SeqType::kRange) &&
               Equal(heap, heap.NewList(a.seq().items), heap.NewList(b.seq().items), depth + 1);
      const auto& x = a.seq().items;
      const auto& y = b.seq().items;
      return std::equal(
          x.begin(), x.end(), y.begin(), y.end(),
          [&](const Value& p, const Value& q) { return Equal(heap, p, q, depth + 1); });
    }
    case Kind::kDict:
      return a.identity() == b.identity() || EqualDicts(heap, a.dict(), b.dict(), depth + 1);
    case Kind::kUndefined:
    case Kind::kNone:
      return true;
    default:
      return a.identity() == b.identity();
  }
}

bool Ordered(Heap& heap, Operator op, const Value& a, const Value& b, int depth) {
  CheckDepth(depth);
  heap.budget().Step();
  if (a.is_number() && b.is_number()) return OrderedNumbers(op, a, b);
  if (a.is_string() && b.is_string()) {
    heap.budget().StepBytes(std::min(a.text().size(), b.text().size()));
    return Holds(op, a.text().compare(b.text()));  // UTF-8 sorts as its characters do
  }
  if (SameSeqFamily(a, b)) {
    const auto& x = a.seq().items;
    const auto& y = b.seq().items;
    for (std::size_t i = 0; i < std::min(x.size(), y.size()); ++i)
      if (!Equal(heap, x[i], y[i], depth + 1)) return Ordered(heap, op, x[i], y[i], depth + 1);
    return Holds(op, x.size() < y.size() ? -1 : x.size() > y.size() ? 1 : 0);
  }
  if (a.is_undefined()) FailUndefined(a);
  if (b.is_undefined()) FailUndefined(b);
  throw TemplateError("'" + std::string(Symbol(op)) + "' not supported between instances of '" +
                      std::string(a.TypeName()) + "' and '" + std::string(b.TypeName()) + "'");
}

bool Contains(Heap& heap, const Value& container, const Value& item) {
  if (container.is_string()) {
    if (item.is_undefined()) FailUndefined(item);
    if (!item.is_string())
      throw TemplateError("'in <string>' requires string as left operand, not " +
                          std::string(item.TypeName()));
    heap.budget().StepBytes(container.text().size());
    return container.text().find(item.text()) != std::string::npos;
  }
  if (container.is_dict()) return FindKey(heap, container.dict(), item) != nullptr;
  if (!IsIterable(container))
    throw TemplateError("argument of type '" + std::string(container.TypeName()) +
                        "' is not iterable");
  const std::vector<Value> items = Iterate(heap, container);
  return std::any_of(items.begin(), items.end(),
                     [&](const Value& each) { return Equal(heap, each, item); });
}

bool Compare(Heap& heap, Operator op, const Value& a, const Value& b) {
  switch (op) {
    case Operator::kEqual:
      return Equal(heap, a, b);
    case Operator::kNotEqual:
      return !Equal(heap, a, b);
    case Operator::kIn:
      return Contains(heap, b, a);
    case Operator::kNotIn:
      return !Contains(heap, b, a);
    default:
      return Ordered(heap, op, a, b);
  }
}

Value Arithmetic(Heap& heap, Operator op, const Value& a, const Value& b) {
  if (a.is_integral() && b.is_integral()) return IntegerArithmetic(op, a.integer(), b.integer());
  if (a.is_number() && b.is_number()) return FloatArithmetic(op, a.number(), b.number());
  if (op == Operator::kAdd && (a.is_string() || a.is(Kind::kSeq))) return Concatenate(heap, a, b);
  if (op == Operator::kMultiply) {
    if ((a.is_string() || IsListLike(a)) && b.is_integral()) return Repeat(heap, a, b.integer());
    if ((b.is_string() || IsListLike(b)) && a.is_integral()) return Repeat(heap, b, a.integer());
  }
  if (op == Operator::kModulo && a.is_string()) return PercentFormat(heap, a, b);
  FailOperands(op, a, b);
}

Value Negate(const Value& value) {
  if (value.is(Kind::kFloat)) return Value::Float(-value.number());
  if (value.is_undefined()) FailUndefined(value);
  if (!value.is_integral())
    throw TemplateError("bad operand type for unary -: '" + std::string(value.TypeName()) + "'");
  return IntegerArithmetic(Operator::kSubtract, 0, value.integer());
}

}  // namespace quire::jinja
