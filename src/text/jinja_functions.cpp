// Global functions, methods of containers, attributes of loops, and the binding of arguments.
#include <algorithm>
#include <ctime>
#include <iterator>
#include <string>

#include "text/jinja_builtins.h"
#include "text/jinja_interpreter.h"
#include "text/jinja_operators.h"

namespace quire::jinja {
namespace {

constexpr std::int64_t kMaxRange = 100000;  // as jinja2's sandbox

Value Range(Interpreter& run, const Value&, const Arguments& arguments) {
  const Parameters given("range", arguments, {"start", "stop", "step"}, 1);
  const bool has_start = given.given(1);
  const std::int64_t start = has_start ? given.Int(0, 0) : 0;
  const std::int64_t stop = has_start ? given.Int(1, 0) : given.Int(0, 0);
  const std::int64_t step = given.Int(2, 1);
  if (step == 0) throw TemplateError("range() arg 3 must not be zero");
  const double count =
      (static_cast<double>(stop) - static_cast<double>(start)) / static_cast<double>(step);
  if (count > static_cast<double>(kMaxRange))
    throw TemplateError("Range too big. The sandbox blocks ranges larger than MAX_RANGE (100000).");
  std::vector<Value> items;
  for (std::int64_t i = start; step > 0 ? i < stop : i > stop;) {
    items.push_back(Value::Int(i));
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  Value range = run.heap().NewSeq(SeqType::kRange, std::move(items));
  range.seq().range[0] = start;
  range.seq().range[1] = stop;
  range.seq().range[2] = step;
  return range;
}

// dict(mapping or pairs, **more), of which namespace() takes the same.
void FillDict(Interpreter& run, Dict& dict, const Arguments& arguments) {
  if (arguments.positional.size() > 1) throw TemplateError("dict expected at most 1 argument");
  Heap& heap = run.heap();
  if (!arguments.positional.empty()) {
    const Value& from = arguments.positional[0];
    if (from.is_dict()) {
      for (const auto& [key, value] : from.dict().entries) SetItem(heap, dict, key, value);
    } else {
      for (const Value& pair : Iterate(heap, from)) {
        const std::vector<Value> items = Iterate(heap, pair);
        if (items.size() != 2)
          throw TemplateError("dictionary update sequence element has not length 2");
        SetItem(heap, dict, items[0], items[1]);
      }
    }
  }
  for (const auto& [name, value] : arguments.named)
    SetItem(heap, dict, heap.NewString(std::string(name)), value);
}

Value NewDict(Interpreter& run, const Value&, const Arguments& arguments) {
  Dict* dict = run.heap().New<Dict>();
  FillDict(run, *dict, arguments);
  return Value::Of(dict);
}

Value NewNamespace(Interpreter& run, const Value&, const Arguments& arguments) {
  Namespace* space = run.heap().New<Namespace>();
  FillDict(run, space->attributes, arguments);
  return Value::Of(space);
}

Value RaiseException(Interpreter& run, const Value&, const Arguments& arguments) {
  const Parameters given("raise_exception", arguments, {"message"}, 1);
  throw TemplateError(Print(run.heap(), given[0]), 0, true);
}

Value StrftimeNow(Interpreter& run, const Value&, const Arguments& arguments) {
  constexpr std::size_t kMaxFormat = 256;
  const Parameters given("strftime_now", arguments, {"format"}, 1);
  const std::string format(given.Text(0, ""));
  if (format.size() > kMaxFormat) throw TemplateError("the format of strftime_now is too long");
  const std::time_t now = std::chrono::system_clock::to_time_t(run.now());
  std::tm local{};
  ::localtime_r(&now, &local);
  std::array<char, 2048> buffer{};
  const std::size_t size = std::strftime(buffer.data(), buffer.size(), format.c_str(), &local);
  return run.heap().NewString(std::string(buffer.data(), size));
}

// -- methods of dicts and sequences

Value DictGet(Interpreter& run, const Value& self, const Arguments& arguments) {
  const Parameters given("get", arguments, {"key", "default"}, 1);
  const Value* found = FindKey(run.heap(), self.dict(), given[0]);
  return found != nullptr ? *found : given.Or(1, Value::None());
}

Value DictItems(Interpreter& run, const Value& self, const Arguments& arguments) {
  const Parameters given("items", arguments, {});
  std::vector<Value> pairs;
  for (const auto& [key, value] : self.dict().entries)
    pairs.push_back(run.heap().NewPair(key, value));
  return run.heap().NewSeq(SeqType::kDictItems, std::move(pairs));
}

Value DictKeys(Interpreter& run, const Value& self, const Arguments& arguments) {
  const Parameters given("keys", arguments, {});
  return run.heap().NewSeq(SeqType::kDictKeys, Iterate(run.heap(), self));
}

Value DictValues(Interpreter& run, const Value& self, const Arguments& arguments) {
  const Parameters given("values", arguments, {});
  std::vector<Value> values;
  for (const auto& entry : self.dict().entries) values.push_back(entry.second);
  return run.heap().NewSeq(SeqType::kDictValues, std::move(values));
}

// Values never change, so a copy may be the thing itself.
Value Copy(Interpreter&, const Value& self, const Arguments& arguments) {
  const Parameters given("copy", arguments, {});
  return self;
}

Value SeqCount(Interpreter& run, const Value& self, const Arguments& arguments) {
  const Parameters given("count", arguments, {"value"}, 1);
  const auto& items = self.seq().items;
  return Value::Int(std::count_if(items.begin(), items.end(), [&](const Value& item) {
    return Equal(run.heap(), item, given[0]);
  }));
}

Value SeqIndex(Interpreter& run, const Value& self, const Arguments& arguments) {
  const Parameters given("index", arguments, {"value"}, 1);
  const auto& items = self.seq().items;
  const auto found = std::find_if(items.begin(), items.end(), [&](const Value& item) {
    return Equal(run.heap(), item, given[0]);
  });
  if (found == items.end()) throw TemplateError("the value is not in the list");
  return Value::Int(found - items.begin());
}

constexpr Builtin kFunctions[] = {{"dict", NewDict},
                                  {"namespace", NewNamespace},
                                  {"raise_exception", RaiseException},
                                  {"range", Range},
                                  {"strftime_now", StrftimeNow}};
constexpr Builtin kDictMethods[] = {{"get", DictGet},
                                    {"items", DictItems},
                                    {"keys", DictKeys},
                                    {"values", DictValues},
                                    {"copy", Copy}};
constexpr Builtin kSeqMethods[] = {{"count", SeqCount}, {"index", SeqIndex}, {"copy", Copy}};

// -- loop

Value LoopCycle(Interpreter&, const Value& self, const Arguments& arguments) {
  if (arguments.positional.empty()) throw TemplateError("no items for cycling given");
  return arguments.positional[self.loop().index % arguments.positional.size()];
}

Value LoopChanged(Interpreter& run, const Value& self, const Arguments& arguments) {
  Loop& loop = self.loop();
  const auto& now = arguments.positional;
  const bool same =
      loop.has_changed &&
      std::equal(now.begin(), now.end(), loop.last_changed.begin(), loop.last_changed.end(),
                 [&](const Value& a, const Value& b) { return Equal(run.heap(), a, b); });
  loop.has_changed = true;
  if (!same) loop.last_changed = now;
  return Value::Bool(!same);
}

}  // namespace

bool FindLoopAttribute(Heap& heap, const Value& value, std::string_view name, Value& found) {
  const Loop& loop = value.loop();
  const auto index = static_cast<std::int64_t>(loop.index);
  const auto size = static_cast<std::int64_t>(loop.items.size());
  if (name == "index") {
    found = Value::Int(index + 1);
  } else if (name == "index0") {
    found = Value::Int(index);
  } else if (name == "revindex") {
    found = Value::Int(size - index);
  } else if (name == "revindex0") {
    found = Value::Int(size - index - 1);
  } else if (name == "first") {
    found = Value::Bool(index == 0);
  } else if (name == "last") {
    found = Value::Bool(index + 1 == size);
  } else if (name == "length") {
    found = Value::Int(size);
  } else if (name == "depth") {
    found = Value::Int(loop.depth);
  } else if (name == "depth0") {
    found = Value::Int(loop.depth - 1);
  } else if (name == "previtem" && index > 0) {
    found = loop.items[loop.index - 1];
  } else if (name == "nextitem" && index + 1 < size) {
    found = loop.items[loop.index + 1];
  } else if (name == "cycle") {
    found = Value::Of(heap.NewMethod("cycle", LoopCycle, value));
  } else if (name == "changed") {
    found = Value::Of(heap.NewMethod("changed", LoopChanged, value));
  } else {
    return false;
  }
  return true;
}

NativeFunction FindFunction(std::string_view name) { return FindIn(kFunctions, name).native; }

NativeFunction FindFilter(std::string_view name) {
  if (const NativeFunction found = FindStringFilter(name)) return found;
  if (const NativeFunction found = FindSequenceFilter(name)) return found;
  return FindSelectingFilter(name);
}

Builtin FindMethod(const Value& object, std::string_view name) {
  if (object.is_string()) return FindStringMethod(name);
  if (object.is_dict()) return FindIn(kDictMethods, name);
  const bool is_list = object.is(Kind::kSeq) && object.seq().type <= SeqType::kGroup;
  return is_list ? FindIn(kSeqMethods, name) : Builtin{};
}

Parameters::Parameters(std::string_view function, const Arguments& arguments,
                       std::initializer_list<std::string_view> names, std::size_t required) {
  const std::string call = std::string(function) + "()";
  if (arguments.positional.size() > names.size())
    throw TemplateError(call + " takes at most " + std::to_string(names.size()) + " arguments");
  for (std::size_t i = 0; i < arguments.positional.size(); ++i) {
    values_[i] = arguments.positional[i];
    given_[i] = true;
  }
  for (const auto& [name, value] : arguments.named) {
    const auto* found = std::find(names.begin(), names.end(), name);
    if (found == names.end()) throw TemplateError(call + " got an unexpected keyword argument");
    const auto index = static_cast<std::size_t>(found - names.begin());
    if (given_[index]) throw TemplateError(call + " got multiple values for an argument");
    values_[index] = value;
    given_[index] = true;
  }
  for (std::size_t i = 0; i < required; ++i)
    if (!given_[i])
      throw TemplateError(call + " missing a required argument: '" + std::string(names.begin()[i]) +
                          "'");
}

bool Parameters::Bool(std::size_t index, bool fallback) const {
  return given_[index] ? values_[index].Truthy() : fallback;
}

std::int64_t Parameters::Int(std::size_t index, std::int64_t fallback) const {
  if (!given_[index] || values_[index].is_none()) return fallback;
  if (values_[index].is_undefined()) FailUndefined(values_[index]);
  if (!values_[index].is_integral())
    throw TemplateError("'" + std::string(values_[index].TypeName()) +
                        "' object cannot be interpreted as an integer");
  return values_[index].integer();
}

std::string_view Parameters::Text(std::size_t index, std::string_view fallback) const {
  if (!given_[index] || values_[index].is_none()) return fallback;
  if (values_[index].is_undefined()) FailUndefined(values_[index]);
  if (!values_[index].is_string())
    throw TemplateError("an argument must be str, not " + std::string(values_[index].TypeName()));
  return values_[index].text();
}

}  // namespace quire::jinja
