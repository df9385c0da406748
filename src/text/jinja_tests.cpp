// The tests of `is`, and the filters that apply a test or a filter to each item.
#include <algorithm>
#include <iterator>
#include <string>

#include "text/jinja_attribute_path.h"
#include "text/jinja_builtins.h"
#include "text/jinja_interpreter.h"
#include "text/jinja_operators.h"
#include "text/jinja_strings.h"

namespace quire::jinja {
namespace {

template <bool (*fits)(const Value&)>
Value OfValue(Interpreter&, const Value& self, const Arguments& arguments) {
  const Parameters given("test", arguments, {});
  return Value::Bool(fits(self));
}

bool IsDefined(const Value& value) { return !value.is_undefined(); }
bool IsUndefined(const Value& value) { return value.is_undefined(); }
bool IsNone(const Value& value) { return value.is_none(); }
bool IsString(const Value& value) { return value.is_string(); }
bool IsMapping(const Value& value) { return value.is_dict(); }
bool IsNumber(const Value& value) { return value.is_number(); }
bool IsInteger(const Value& value) { return value.is(Kind::kInt); }
bool IsFloat(const Value& value) { return value.is(Kind::kFloat); }
bool IsBoolean(const Value& value) { return value.is(Kind::kBool); }
bool IsTrue(const Value& value) { return value.is(Kind::kBool) && value.boolean(); }
bool IsFalse(const Value& value) { return value.is(Kind::kBool) && !value.boolean(); }
bool IsCallable(const Value& value) {
  return value.is(Kind::kCallable) || value.is(Kind::kLoop) || value.is_undefined();
}
bool IsEscaped(const Value& value) { return value.is_markup(); }
bool IsSequence(const Value& value) {
  if (value.is(Kind::kSeq)) return value.seq().type <= SeqType::kRange;
  return value.is_string() || value.is_dict() || value.is_undefined();
}
bool IsLower(const Value& value) {
  return value.is_string() && Lower(value.text()) == value.text() &&
         Upper(value.text()) != value.text();
}
bool IsUpper(const Value& value) {
  return value.is_string() && Upper(value.text()) == value.text() &&
         Lower(value.text()) != value.text();
}

bool HasRemainder(Interpreter& run, const Value& self, std::int64_t divisor, std::int64_t rest) {
  const Value modulo = Arithmetic(run.heap(), Operator::kModulo, self, Value::Int(divisor));
  return Equal(run.heap(), modulo, Value::Int(rest));
}

Value IsEven(Interpreter& run, const Value& self, const Arguments& arguments) {
  const Parameters given("even", arguments, {});
  return Value::Bool(HasRemainder(run, self, 2, 0));
}
Value IsOdd(Interpreter& run, const Value& self, const Arguments& arguments) {
  const Parameters given("odd", arguments, {});
  return Value::Bool(HasRemainder(run, self, 2, 1));
}
Value IsDivisible(Interpreter& run, const Value& self, const Arguments& arguments) {
  const Parameters given("divisibleby", arguments, {"num"}, 1);
  return Value::Bool(HasRemainder(run, self, given.Int(0, 0), 0));
}

template <Operator op>
Value Compares(Interpreter& run, const Value& self, const Arguments& arguments) {
  const Parameters given("comparison", arguments, {"other"}, 1);
  return Value::Bool(Compare(run.heap(), op, self, given[0]));
}

Value IsSame(Interpreter& run, const Value& self, const Arguments& arguments) {
  const Parameters given("sameas", arguments, {"other"}, 1);
  const Value& other = given[0];
  if (self.kind() != other.kind()) return Value::Bool(false);
  const bool by_value = self.is_number() || self.is_string() || self.is_none();
  return Value::Bool(by_value ? Equal(run.heap(), self, other)
                              : self.identity() == other.identity());
}

Value IsFilterName(Interpreter&, const Value& self, const Arguments& arguments) {
  const Parameters given("filter", arguments, {});
  return Value::Bool(self.is_string() && FindFilter(self.text()) != nullptr);
}
Value IsTestName(Interpreter&, const Value& self, const Arguments& arguments) {
  const Parameters given("test", arguments, {});
  return Value::Bool(self.is_string() && FindTest(self.text()) != nullptr);
}

constexpr Builtin kTests[] = {
    {"defined", OfValue<IsDefined>},
    {"undefined", OfValue<IsUndefined>},
    {"none", OfValue<IsNone>},
    {"string", OfValue<IsString>},
    {"mapping", OfValue<IsMapping>},
    {"iterable", OfValue<IsIterable>},
    {"sequence", OfValue<IsSequence>},
    {"number", OfValue<IsNumber>},
    {"integer", OfValue<IsInteger>},
    {"float", OfValue<IsFloat>},
    {"boolean", OfValue<IsBoolean>},
    {"true", OfValue<IsTrue>},
    {"false", OfValue<IsFalse>},
    {"callable", OfValue<IsCallable>},
    {"escaped", OfValue<IsEscaped>},
    {"lower", OfValue<IsLower>},
    {"upper", OfValue<IsUpper>},
    {"even", IsEven},
    {"odd", IsOdd},
    {"divisibleby", IsDivisible},
    {"sameas", IsSame},
    {"in", Compares<Operator::kIn>},
    {"equalto", Compares<Operator::kEqual>},
    {"eq", Compares<Operator::kEqual>},
    {"==", Compares<Operator::kEqual>},
    {"ne", Compares<Operator::kNotEqual>},
    {"!=", Compares<Operator::kNotEqual>},
    {"lt", Compares<Operator::kLess>},
    {"lessthan", Compares<Operator::kLess>},
    {"<", Compares<Operator::kLess>},
    {"le", Compares<Operator::kLessEqual>},
    {"<=", Compares<Operator::kLessEqual>},
    {"gt", Compares<Operator::kGreater>},
    {"greaterthan", Compares<Operator::kGreater>},
    {">", Compares<Operator::kGreater>},
    {"ge", Compares<Operator::kGreaterEqual>},
    {">=", Compares<Operator::kGreaterEqual>},
    {"filter", IsFilterName},
    {"test", IsTestName},
};

// -- map, select and their kin

// The arguments behind the first `count`, for the filter or test that is applied.
Arguments Behind(const Arguments& arguments, std::size_t count) {
  Arguments rest;
  rest.named = arguments.named;
  for (std::size_t i = count; i < arguments.positional.size(); ++i)
    rest.positional.push_back(arguments.positional[i]);
  return rest;
}

std::string NameAt(const Arguments& arguments, std::size_t index) {
  const Value& name = arguments.positional[index];
  if (!name.is_string()) throw TemplateError("the name of a filter or test must be a string");
  return name.text();
}

// jinja2 looks whether there are items before it looks at anything else.
std::vector<Value> ItemsOf(Interpreter& run, const Value& self) {
  return self.Truthy() ? Iterate(run.heap(), self) : std::vector<Value>();
}

std::vector<Value> MapAttribute(Interpreter& run, const Value& self, const Arguments& arguments) {
  const Parameters given("map", arguments, {"attribute", "default"}, 1);
  const AttributePath path(run.heap(), given[0]);
  const Value* fallback = given.given(1) && !given[1].is_none() ? &given[1] : nullptr;
  std::vector<Value> items = ItemsOf(run, self);
  for (Value& item : items) item = path.Get(run.heap(), item, fallback);
  return items;
}

Value Map(Interpreter& run, const Value& self, const Arguments& arguments) {
  const auto is_attribute = [](const auto& each) { return each.first == "attribute"; };
  if (arguments.positional.empty()) {
    if (std::none_of(arguments.named.begin(), arguments.named.end(), is_attribute))
      throw TemplateError("map requires a filter argument");
    return run.heap().NewSeq(SeqType::kGenerator, MapAttribute(run, self, arguments));
  }
  const NativeFunction filter = FindFilter(NameAt(arguments, 0));
  if (filter == nullptr) throw TemplateError("No filter named as map wants it.");
  const Arguments rest = Behind(arguments, 1);
  std::vector<Value> items = ItemsOf(run, self);
  for (Value& item : items) {
    run.budget().Step();
    item = filter(run, item, rest);
  }
  return run.heap().NewSeq(SeqType::kGenerator, std::move(items));
}

template <bool wanted, bool by_attribute>
Value Select(Interpreter& run, const Value& self, const Arguments& arguments) {
  const std::size_t first = by_attribute ? 1 : 0;
  if (arguments.positional.size() < first)
    throw TemplateError("Missing parameter for attribute name");
  const AttributePath path(run.heap(), by_attribute ? arguments.positional[0] : Value::None());
  NativeFunction test = nullptr;
  if (arguments.positional.size() > first) {
    test = FindTest(NameAt(arguments, first));
    if (test == nullptr) throw TemplateError("No test named as select wants it.");
  }
  const Arguments rest = Behind(arguments, first + 1);
  std::vector<Value> kept;
  for (const Value& item : ItemsOf(run, self)) {
    run.budget().Step();
    const Value value = path.Get(run.heap(), item);
    const bool fits = test != nullptr ? test(run, value, rest).Truthy() : value.Truthy();
    if (fits == wanted) kept.push_back(item);
  }
  return run.heap().NewSeq(SeqType::kGenerator, std::move(kept));
}

constexpr Builtin kFilters[] = {{"map", Map},
                                {"select", Select<true, false>},
                                {"reject", Select<false, false>},
                                {"selectattr", Select<true, true>},
                                {"rejectattr", Select<false, true>}};

}  // namespace

NativeFunction FindTest(std::string_view name) { return FindIn(kTests, name).native; }
NativeFunction FindSelectingFilter(std::string_view name) { return FindIn(kFilters, name).native; }

}  // namespace quire::jinja
