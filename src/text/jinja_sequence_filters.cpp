// Filters over sequences and dicts.
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

// What sorting looks at: without case unless that is wanted.
Value IgnoreCase(Interpreter& run, Value value, bool case_sensitive) {
  if (case_sensitive || !value.is_string()) return value;
  run.budget().Step(1 + value.text().size() / 16);
  return run.heap().NewString(Lower(value.text()));
}

struct Keyed {
  std::vector<Value> keys;
  Value item;
};

bool KeysLess(Interpreter& run, const std::vector<Value>& a, const std::vector<Value>& b) {
  for (std::size_t i = 0; i < a.size(); ++i)
    if (!Equal(run.heap(), a[i], b[i])) return Ordered(run.heap(), Operator::kLess, a[i], b[i]);
  return false;
}

std::vector<Value> SortKeyed(Interpreter& run, std::vector<Keyed> items, bool reverse) {
  std::stable_sort(items.begin(), items.end(), [&](const Keyed& a, const Keyed& b) {
    return reverse ? KeysLess(run, b.keys, a.keys) : KeysLess(run, a.keys, b.keys);
  });
  std::vector<Value> sorted;
  sorted.reserve(items.size());
  for (Keyed& each : items) sorted.push_back(std::move(each.item));
  return sorted;
}

Value First(Interpreter& run, const Value& self, const Arguments& arguments) {
  const Parameters given("first", arguments, {});
  if (self.is_string() && !self.text().empty())
    return run.heap().NewString(self.text().substr(0, ByteOffset(self.text(), 1)));
  if (self.is_seq(SeqType::kGenerator)) {
    Seq& seq = self.seq();
    return seq.next < seq.items.size() ? seq.items[seq.next++] : Value::Undefined(Missing::kFirst);
  }
  const std::vector<Value> items = Iterate(run.heap(), self);
  return items.empty() ? Value::Undefined(Missing::kFirst) : items.front();
}

Value Last(Interpreter& run, const Value& self, const Arguments& arguments) {
  const Parameters given("last", arguments, {});
  if (self.is_seq(SeqType::kGenerator) || !IsIterable(self))
    throw TemplateError("'" + std::string(self.TypeName()) + "' object is not reversible");
  const std::vector<Value> items = Iterate(run.heap(), self);
  return items.empty() ? Value::Undefined(Missing::kLast) : items.back();
}

Value LengthFilter(Interpreter& run, const Value& self, const Arguments& arguments) {
  const Parameters given("length", arguments, {});
  return Value::Int(static_cast<std::int64_t>(Length(run.heap(), self)));
}

Value List(Interpreter& run, const Value& self, const Arguments& arguments) {
  const Parameters given("list", arguments, {});
  return run.heap().NewList(Iterate(run.heap(), self));
}

Value ReverseFilter(Interpreter& run, const Value& self, const Arguments& arguments) {
  const Parameters given("reverse", arguments, {});
  if (self.is_string()) return run.heap().NewString(Reverse(self.text()), self.is_markup());
  if (!IsIterable(self)) throw TemplateError("argument must be iterable");
  std::vector<Value> items = Iterate(run.heap(), self);
  std::reverse(items.begin(), items.end());
  return run.heap().NewSeq(SeqType::kGenerator, std::move(items));
}

Value Join(Interpreter& run, const Value& self, const Arguments& arguments) {
  const Parameters given("join", arguments, {"d", "attribute"});
  const std::string separator = given.given(0) ? Print(run.heap(), given[0]) : "";
  const AttributePath path(run.heap(), given.Or(1, Value::None()));
  std::string text;
  bool first = true;
  for (const Value& item : Iterate(run.heap(), self)) {
    if (!first) text += separator;
    first = false;
    text += Print(run.heap(), path.Get(run.heap(), item));
    run.budget().Require(text.size());
  }
  return run.heap().NewString(std::move(text));
}

Value Sort(Interpreter& run, const Value& self, const Arguments& arguments) {
  const Parameters given("sort", arguments, {"reverse", "case_sensitive", "attribute"});
  std::vector<AttributePath> paths;
  const Value attribute = given.Or(2, Value::None());
  if (attribute.is_string()) {
    for (const std::string_view part : Split(attribute.text(), ",", -1, false))
      paths.emplace_back(run.heap(), run.heap().NewString(std::string(part)));
  } else {
    paths.emplace_back(run.heap(), attribute);
  }
  std::vector<Keyed> items;
  for (const Value& item : Iterate(run.heap(), self)) {
    Keyed keyed{{}, item};
    for (const AttributePath& path : paths)
      keyed.keys.push_back(IgnoreCase(run, path.Get(run.heap(), item), given.Bool(1, false)));
    items.push_back(std::move(keyed));
  }
  return run.heap().NewList(SortKeyed(run, std::move(items), given.Bool(0, false)));
}

Value DictSort(Interpreter& run, const Value& self, const Arguments& arguments) {
  const Parameters given("dictsort", arguments, {"case_sensitive", "by", "reverse"});
  if (self.is_undefined()) FailUndefined(self);
  if (!self.is_dict())
    throw TemplateError("'" + std::string(self.TypeName()) + "' object has no attribute 'items'");
  const std::string_view by = given.Text(1, "key");
  if (by != "key" && by != "value")
    throw TemplateError("You can only sort by either \"key\" or \"value\"");
  std::vector<Keyed> items;
  for (const auto& [key, value] : self.dict().entries) {
    const Value& sorted_by = by == "key" ? key : value;
    items.push_back(
        {{IgnoreCase(run, sorted_by, given.Bool(0, false))}, run.heap().NewPair(key, value)});
  }
  return run.heap().NewList(SortKeyed(run, std::move(items), given.Bool(2, false)));
}

Value Items(Interpreter& run, const Value& self, const Arguments& arguments) {
  const Parameters given("items", arguments, {});
  std::vector<Value> pairs;
  if (self.is_dict()) {
    for (const auto& [key, value] : self.dict().entries)
      pairs.push_back(run.heap().NewPair(key, value));
  } else if (!self.is_undefined()) {
    throw TemplateError("Can only get item pairs from a mapping.");
  }
  return run.heap().NewSeq(SeqType::kGenerator, std::move(pairs));
}

Value Unique(Interpreter& run, const Value& self, const Arguments& arguments) {
  const Parameters given("unique", arguments, {"case_sensitive", "attribute"});
  const AttributePath path(run.heap(), given.Or(1, Value::None()));
  std::vector<Value> seen;
  std::vector<Value> kept;
  for (const Value& item : Iterate(run.heap(), self)) {
    Value key = IgnoreCase(run, path.Get(run.heap(), item), given.Bool(0, false));
    const bool is_new = std::none_of(seen.begin(), seen.end(),
                                     [&](const Value& old) { return Equal(run.heap(), old, key); });
    if (!is_new) continue;
    seen.push_back(std::move(key));
    kept.push_back(item);
  }
  return run.heap().NewSeq(SeqType::kGenerator, std::move(kept));
}

template <Operator better>
Value Extreme(Interpreter& run, const Value& self, const Arguments& arguments) {
  const Parameters given("min or max", arguments, {"case_sensitive", "attribute"});
  const AttributePath path(run.heap(), given.Or(1, Value::None()));
  Value best = Value::Undefined(Missing::kAggregate);
  Value best_key;
  bool first = true;
  for (const Value& item : Iterate(run.heap(), self)) {
    Value key = IgnoreCase(run, path.Get(run.heap(), item), given.Bool(0, false));
    if (!first && !Ordered(run.heap(), better, key, best_key)) continue;
    first = false;
    best = item;
    best_key = std::move(key);
  }
  return best;
}

Value Sum(Interpreter& run, const Value& self, const Arguments& arguments) {
  const Parameters given("sum", arguments, {"attribute", "start"});
  const AttributePath path(run.heap(), given.Or(0, Value::None()));
  Value total = given.Or(1, Value::Int(0));
  if (total.is_string()) throw TemplateError("sum() can't sum strings [use ''.join(seq) instead]");
  for (const Value& item : Iterate(run.heap(), self))
    total = Arithmetic(run.heap(), Operator::kAdd, total, path.Get(run.heap(), item));
  return total;
}

std::size_t Count(const Parameters& given, const char* name) {
  constexpr std::int64_t kMax = 100000;
  const std::int64_t count = given.Int(0, 0);
  if (count < 1 || count > kMax)
    throw TemplateError(std::string(name) + " needs a positive number");
  return static_cast<std::size_t>(count);
}

Value Batch(Interpreter& run, const Value& self, const Arguments& arguments) {
  const Parameters given("batch", arguments, {"linecount", "fill_with"}, 1);
  const std::size_t size = Count(given, "batch");
  const Value fill = given.Or(1, Value::None());
  const std::vector<Value> items = Iterate(run.heap(), self);
  std::vector<Value> batches;
  for (std::size_t begin = 0; begin < items.size(); begin += size) {
    const std::size_t end = std::min(items.size(), begin + size);
    std::vector<Value> batch(items.begin() + static_cast<std::ptrdiff_t>(begin),
                             items.begin() + static_cast<std::ptrdiff_t>(end));
    if (!fill.is_none()) batch.resize(size, fill);
    batches.push_back(run.heap().NewList(std::move(batch)));
  }
  return run.heap().NewSeq(SeqType::kGenerator, std::move(batches));
}

Value Slice(Interpreter& run, const Value& self, const Arguments& arguments) {
  const Parameters given("slice", arguments, {"slices", "fill_with"}, 1);
  const std::size_t count = Count(given, "slice");
  const Value fill = given.Or(1, Value::None());
  const std::vector<Value> items = Iterate(run.heap(), self);
  const std::size_t longer = items.size() % count;
  std::vector<Value> slices;
  std::size_t begin = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t end = begin + items.size() / count + (i < longer ? 1 : 0);
    std::vector<Value> slice(items.begin() + static_cast<std::ptrdiff_t>(begin),
                             items.begin() + static_cast<std::ptrdiff_t>(end));
    if (!fill.is_none() && i >= longer) slice.push_back(fill);
    slices.push_back(run.heap().NewList(std::move(slice)));
    begin = end;
  }
  return run.heap().NewSeq(SeqType::kGenerator, std::move(slices));
}

Value GroupBy(Interpreter& run, const Value& self, const Arguments& arguments) {
  const Parameters given("groupby", arguments, {"attribute", "default", "case_sensitive"}, 1);
  Heap& heap = run.heap();
  const AttributePath path(heap, given[0]);
  const Value* fallback = given.given(1) && !given[1].is_none() ? &given[1] : nullptr;
  const auto key_of = [&](const Value& item) {
    return IgnoreCase(run, path.Get(heap, item, fallback), given.Bool(2, false));
  };
  std::vector<Keyed> keyed;
  for (const Value& item : Iterate(heap, self)) keyed.push_back({{key_of(item)}, item});
  std::vector<Value> groups;
  Value key;
  for (const Value& item : SortKeyed(run, std::move(keyed), false)) {
    Value next = key_of(item);
    if (groups.empty() || !Equal(heap, key, next)) {
      groups.push_back(
          heap.NewSeq(SeqType::kGroup, {path.Get(heap, item, fallback), heap.NewList({})}));
    }
    key = std::move(next);
    groups.back().seq().items[1].seq().items.push_back(item);
    heap.budget().Grow(2 * sizeof(Value));
  }
  return heap.NewList(std::move(groups));
}

Value Attribute(Interpreter& run, const Value& self, const Arguments& arguments) {
  const Parameters given("attr", arguments, {"name"}, 1);
  if (!given[0].is_string()) throw TemplateError("attr needs the name of an attribute");
  if (self.is_dict() && FindMethod(self, given[0].text()).native == nullptr)
    return Value::Undefined(Missing::kAttribute, nullptr, &self);  // keys are not attributes
  return GetAttribute(run.heap(), self, *given[0].text_object());
}

constexpr Builtin kFilters[] = {
    {"length", LengthFilter},
    {"count", LengthFilter},
    {"first", First},
    {"last", Last},
    {"list", List},
    {"reverse", ReverseFilter},
    {"join", Join},
    {"sort", Sort},
    {"dictsort", DictSort},
    {"items", Items},
    {"unique", Unique},
    {"min", Extreme<Operator::kLess>},
    {"max", Extreme<Operator::kGreater>},
    {"sum", Sum},
    {"batch", Batch},
    {"slice", Slice},
    {"groupby", GroupBy},
    {"attr", Attribute},
};

}  // namespace

AttributePath::AttributePath(Heap& heap, const Value& path) {
  if (path.is_none() || path.is_undefined()) return;
  if (!path.is_string()) {
    parts_.push_back(path);
    return;
  }
  for (const std::string_view part : Split(path.text(), ".", -1, false)) {
    const bool digits =
        !part.empty() && part.size() < 10 &&
        std::all_of(part.begin(), part.end(), [](char c) { return c >= '0' && c <= '9'; });
    parts_.push_back(digits ? Value::Int(std::stoll(std::string(part)))
                            : heap.NewString(std::string(part)));
  }
}

Value AttributePath::Get(Heap& heap, const Value& item, const Value* fallback) const {
  Value value = item;
  for (const Value& part : parts_) {
    value = GetItem(heap, value, part);
    if (fallback != nullptr && value.is_undefined()) value = *fallback;
  }
  return value;
}

NativeFunction FindSequenceFilter(std::string_view name) { return FindIn(kFilters, name).native; }

}  // namespace quire::jinja
