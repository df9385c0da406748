// Attributes, subscripts, slices and iteration (jinja_operators.h).
#include <algorithm>

#include "text/jinja_builtins.h"
#include "text/jinja_operators.h"
#include "text/jinja_strings.h"

namespace quire::jinja {
namespace {

// Methods that would change their object: the sandbox shows that they are there and refuses them.
bool IsMutator(const Value& object, std::string_view name) {
  constexpr std::string_view kOfList[] = {"append", "clear", "pop",    "reverse",
                                          "insert", "sort",  "extend", "remove"};
  constexpr std::string_view kOfDict[] = {"clear", "pop", "popitem", "setdefault", "update"};
  if (object.is_seq(SeqType::kList))
    return std::find(std::begin(kOfList), std::end(kOfList), name) != std::end(kOfList);
  if (object.is_dict())
    return std::find(std::begin(kOfDict), std::end(kOfDict), name) != std::end(kOfDict);
  return false;
}

bool IsPrivate(std::string_view name) { return name.starts_with("__") && name.ends_with("__"); }

// What Python's getattr would find, or null. Plain attributes win over the keys of a dict.
bool FindAttribute(Heap& heap, const Value& object, const Text& name, Value& found) {
  if (IsPrivate(name.bytes) || IsMutator(object, name.bytes)) {
    found = Value::Undefined(Missing::kUnsafe, name.budget == nullptr ? &name : nullptr, &object);
    return true;
  }
  if (object.is(Kind::kNamespace)) {
    const Value* value = object.space().attributes.Find(name.bytes);
    if (value != nullptr) found = *value;
    return value != nullptr;
  }
  if (object.is_seq(SeqType::kGroup) && (name.bytes == "grouper" || name.bytes == "list")) {
    found = object.seq().items[name.bytes == "list" ? 1 : 0];
    return true;
  }
  if (object.is(Kind::kLoop)) return FindLoopAttribute(heap, object, name.bytes, found);
  if (object.is(Kind::kCallable) && object.callable().macro != nullptr && name.bytes == "name") {
    found = heap.NewString(std::string(object.callable().name));
    return true;
  }
  const Builtin method = FindMethod(object, name.bytes);
  if (method.native == nullptr) return false;
  found = Value::Of(heap.NewMethod(method.name, method.native, object));
  return true;
}

void CheckHashable(const Value& key) {
  if (key.is_dict() || key.is_seq(SeqType::kList))
    throw TemplateError("unhashable type: '" + std::string(key.TypeName()) + "'");
}

// The item of a sequence or string at an index that may be negative; false where there is none.
bool FindIndex(Heap& heap, const Value& object, std::int64_t index, Value& found) {
  const bool is_string = object.is_string();
  if (!is_string && (!object.is(Kind::kSeq) || object.seq().type >= SeqType::kGenerator))
    return false;
  const auto size = static_cast<std::int64_t>(Length(heap, object));
  if (index < 0) index += size;
  if (index < 0 || index >= size) return false;
  const auto at = static_cast<std::size_t>(index);
  if (!is_string) {
    found = object.seq().items[at];
    return true;
  }
  const std::string_view rest =
      std::string_view(object.text()).substr(ByteOffset(object.text(), at));
  found = heap.NewString(std::string(rest.substr(0, ByteOffset(rest, 1))), object.is_markup());
  return true;
}

std::int64_t SliceBound(const Value& value, std::int64_t fallback) {
  if (value.is_none()) return fallback;
  if (value.is_undefined()) FailUndefined(value);
  if (!value.is_integral())
    throw TemplateError("slice indices must be integers or None or have an __index__ method");
  return value.integer();
}

}  // namespace

const Value* FindKey(Heap& heap, const Dict& dict, const Value& key) {
  CheckHashable(key);
  heap.budget().Step(1 + dict.entries.size() / 16);
  if (key.is_string()) return dict.Find(key.text());
  for (const auto& [name, value] : dict.entries)
    if (Equal(heap, name, key)) return &value;
  return nullptr;
}

void SetItem(Heap& heap, Dict& dict, Value key, Value value) {
  if (const Value* old = FindKey(heap, dict, key)) {
    const auto at = std::find_if(dict.entries.begin(), dict.entries.end(),
                                 [old](const auto& entry) { return &entry.second == old; });
    at->second = std::move(value);
    return;
  }
  heap.Append(dict, std::move(key), std::move(value));
}

Value GetAttribute(Heap& heap, const Value& object, const Text& name) {
  if (object.is_undefined()) FailUndefined(object);
  Value found;
  if (FindAttribute(heap, object, name, found)) return found;
  if (object.is_dict()) {
    heap.budget().Step(1 + object.dict().entries.size() / 16);
    if (const Value* value = object.dict().Find(name.bytes)) return *value;
  }
  return Value::Undefined(Missing::kAttribute, name.budget == nullptr ? &name : nullptr, &object);
}

Value GetItem(Heap& heap, const Value& object, const Value& key) {
  if (object.is_undefined()) FailUndefined(object);
  Value found;
  if (object.is_dict()) {
    const bool hashable = !key.is_dict() && !key.is_seq(SeqType::kList);
    const Value* value = hashable ? FindKey(heap, object.dict(), key) : nullptr;
    if (value != nullptr) return *value;
  } else if (key.is_integral() && FindIndex(heap, object, key.integer(), found)) {
    return found;
  }
  if (!key.is_string()) return Value::Undefined(Missing::kElement, nullptr, &object);
  const Text& name = *key.text_object();
  if (FindAttribute(heap, object, name, found)) return found;
  return Value::Undefined(Missing::kAttribute, name.budget == nullptr ? &name : nullptr, &object);
}

Value GetSlice(Heap& heap, const Value& object, const Value& start, const Value& stop,
               const Value& step) {
  if (object.is_undefined()) FailUndefined(object);
  const bool sliceable =
      object.is_string() || (object.is(Kind::kSeq) && object.seq().type < SeqType::kGenerator);
  if (object.is_dict()) throw TemplateError("unhashable type: 'slice'");
  if (!sliceable)
    throw TemplateError("'" + std::string(object.TypeName()) + "' object is not subscriptable");
  const auto size = static_cast<std::int64_t>(Length(heap, object));
  const std::int64_t by = SliceBound(step, 1);
  if (by == 0) throw TemplateError("slice step cannot be zero");
  const std::int64_t low = by > 0 ? 0 : -1;
  const std::int64_t high = by > 0 ? size : size - 1;
  const auto clamp = [&](std::int64_t index) {
    return index < 0 ? std::max(index + size, low) : std::min(index, high);
  };
  const std::int64_t begin =
      start.is_none() ? (by > 0 ? 0 : size - 1) : clamp(SliceBound(start, 0));
  const std::int64_t end = stop.is_none() ? (by > 0 ? size : -1) : clamp(SliceBound(stop, 0));
  if (object.is_string() && by == 1) {
    const std::string& text = object.text();
    if (begin >= end) return heap.NewString("", object.is_markup());
    const std::size_t from = ByteOffset(text, static_cast<std::size_t>(begin));
    const std::size_t to = ByteOffset(text, static_cast<std::size_t>(end));
    return heap.NewString(text.substr(from, to - from), object.is_markup());
  }
  const std::vector<Value> all = Iterate(heap, object);
  std::vector<Value> items;
  for (std::int64_t i = begin; by > 0 ? i < end : i > end;) {
    items.push_back(all[static_cast<std::size_t>(i)]);
    if (__builtin_add_overflow(i, by, &i)) break;
  }
  if (!object.is_string())
    return heap.NewSeq(object.is_seq(SeqType::kList) ? SeqType::kList : SeqType::kTuple,
                       std::move(items));
  std::string text;
  for (const Value& item : items) text += item.text();
  return heap.NewString(std::move(text), object.is_markup());
}

bool IsIterable(const Value& value) {
  return value.is_undefined() || value.is_string() || value.is(Kind::kSeq) || value.is_dict() ||
         value.is(Kind::kLoop);
}

std::vector<Value> Iterate(Heap& heap, const Value& value) {
  std::vector<Value> items;
  if (value.is_string()) {
    heap.budget().Step(1 + value.text().size() / 4);
    heap.budget().Require(value.text().size() * (sizeof(Text) + sizeof(Value)));
    for (const std::string_view c : SplitChars(value.text()))
      items.push_back(heap.NewString(std::string(c)));
  } else if (value.is_dict()) {
    for (const auto& entry : value.dict().entries) items.push_back(entry.first);
  } else if (value.is(Kind::kSeq)) {
    Seq& seq = value.seq();
    items.assign(seq.items.begin() + static_cast<std::ptrdiff_t>(seq.next), seq.items.end());
    if (seq.type == SeqType::kGenerator) seq.next = seq.items.size();
  } else if (!value.is_undefined()) {
    throw TemplateError("'" + std::string(value.TypeName()) + "' object is not iterable");
  }
  heap.budget().Step(1 + items.size() / 16);
  return items;
}

std::size_t Length(Heap& heap, const Value& value) {
  if (value.is_undefined()) return 0;
  if (value.is_string()) {
    heap.budget().StepBytes(value.text().size());
    return CountChars(value.text());
  }
  if (value.is_dict()) return value.dict().entries.size();
  if (value.is(Kind::kSeq) && value.seq().type != SeqType::kGenerator)
    return value.seq().items.size();
  throw TemplateError("object of type '" + std::string(value.TypeName()) + "' has no len()");
}

}  // namespace quire::jinja
