#include "text/jinja_value.h"

#include <array>
#include <iterator>

namespace quire::jinja {
namespace {

// Types by the index that Value::TypeIndex gives: first the kinds, then the types of sequences.
constexpr std::array<std::string_view, 19> kTypeNames = {
    "Undefined", "NoneType",  "bool",       "int",         "float",      "str",   "list",
    "dict",      "Namespace", "function",   "LoopContext", "list",       "tuple", "_GroupTuple",
    "range",     "generator", "dict_items", "dict_keys",   "dict_values"};
constexpr std::size_t kFirstSeqType = 11;

// As jinja2 names the type of an object that lacks an attribute.
std::string OwnerName(std::size_t index) {
  if (index == static_cast<std::size_t>(Kind::kNone)) return "None";
  if (index == static_cast<std::size_t>(Kind::kNamespace)) return "jinja2.utils.Namespace object";
  if (index == static_cast<std::size_t>(Kind::kLoop)) return "jinja2.runtime.LoopContext object";
  return std::string(kTypeNames[index]) + " object";
}

}  // namespace

Value Value::Bool(bool value) {
  Value result(Kind::kBool);
  result.payload_.integer = value ? 1 : 0;
  return result;
}

Value Value::Int(std::int64_t value) {
  Value result(Kind::kInt);
  result.payload_.integer = value;
  return result;
}

Value Value::Float(double value) {
  Value result(Kind::kFloat);
  result.payload_.number = value;
  return result;
}

Value Value::String(Text* text) {
  Value result(Kind::kString);
  result.payload_.text = text;
  result.Acquire();
  return result;
}

Value Value::Of(Seq* seq) {
  Value result(Kind::kSeq);
  result.payload_.seq = seq;
  return result;
}

Value Value::Of(Dict* dict) {
  Value result(Kind::kDict);
  result.payload_.dict = dict;
  return result;
}

Value Value::Of(Namespace* space) {
  Value result(Kind::kNamespace);
  result.payload_.space = space;
  return result;
}

Value Value::Of(Callable* callable) {
  Value result(Kind::kCallable);
  result.payload_.callable = callable;
  return result;
}

Value Value::Of(Loop* loop) {
  Value result(Kind::kLoop);
  result.payload_.loop = loop;
  return result;
}

Value Value::Undefined(Missing why, const Text* name, const Value* owner) {
  Value result(Kind::kUndefined);
  result.head_.missing = why;
  result.payload_.name = name;
  if (owner != nullptr) result.head_.owner = owner->TypeIndex();
  return result;
}

void Value::Free(Text* text) {
  text->budget->Shrink(text->bytes.capacity() + sizeof(Text));
  delete text;
}

bool Value::is_seq(SeqType type) const { return is(Kind::kSeq) && payload_.seq->type == type; }

double Value::number() const {
  return is(Kind::kFloat) ? payload_.number : static_cast<double>(payload_.integer);
}

std::uint8_t Value::TypeIndex() const {
  if (!is(Kind::kSeq)) return static_cast<std::uint8_t>(head_.kind);
  return static_cast<std::uint8_t>(kFirstSeqType + static_cast<std::size_t>(payload_.seq->type));
}

std::string_view Value::TypeName() const { return kTypeNames[TypeIndex()]; }

std::string Value::UndefinedMessage() const {
  const std::string name = payload_.name == nullptr ? "" : "'" + payload_.name->bytes + "'";
  const std::string owner = "'" + OwnerName(head_.owner) + "'";
  switch (head_.missing) {
    case Missing::kName:
      return name + " is undefined";
    case Missing::kParameter:
      return "parameter " + name + " was not provided";
    case Missing::kAttribute:
      return owner + " has no " + (name.empty() ? "such attribute" : "attribute " + name);
    case Missing::kUnsafe:
      return "access to attribute " + name + " of '" + std::string(kTypeNames[head_.owner]) +
             "' object is unsafe.";
    case Missing::kElement:
      return owner + " has no such element";
    case Missing::kFirst:
      return "No first item, sequence was empty.";
    case Missing::kLast:
      return "No last item, sequence was empty.";
    case Missing::kAggregate:
      return "No aggregated item, sequence was empty.";
    case Missing::kCondition:
      break;
  }
  return "the inline if-expression evaluated to false and no else section was defined.";
}

bool Value::Truthy() const {
  switch (head_.kind) {
    case Kind::kUndefined:
    case Kind::kNone:
      return false;
    case Kind::kBool:
    case Kind::kInt:
      return payload_.integer != 0;
    case Kind::kFloat:
      return payload_.number != 0.0;
    case Kind::kString:
      return !payload_.text->bytes.empty();
    case Kind::kSeq:
      return payload_.seq->type == SeqType::kGenerator || !payload_.seq->items.empty();
    case Kind::kDict:
      return !payload_.dict->entries.empty();
    case Kind::kNamespace:
    case Kind::kCallable:
    case Kind::kLoop:
      break;
  }
  return true;
}

const Value* Dict::Find(std::string_view key) const {
  for (const auto& [name, value] : entries)
    if (name.is_string() && name.text() == key) return &value;
  return nullptr;
}

const Value* Scope::FindHere(int symbol) const {
  for (const auto& [name, value] : variables)
    if (name == symbol) return &value;
  return nullptr;
}

void Scope::Set(int symbol, Value value) {
  for (auto& [name, old] : variables) {
    if (name == symbol) {
      old = std::move(value);
      return;
    }
  }
  variables.emplace_back(symbol, std::move(value));
}

Value Heap::NewString(std::string bytes, bool markup) {
  budget_.StepBytes(bytes.size());
  budget_.Grow(bytes.capacity() + sizeof(Text));
  return Value::String(new Text{std::move(bytes), &budget_, 0, markup});
}

Value Heap::NewSeq(SeqType type, std::vector<Value> items) {
  budget_.Step(1 + items.size() / 16);
  budget_.Grow(items.capacity() * sizeof(Value));
  Seq* seq = New<Seq>();
  seq->type = type;
  seq->items = std::move(items);
  return Value::Of(seq);
}

Value Heap::NewPair(Value first, Value second) {
  std::vector<Value> items;
  items.reserve(2);
  items.push_back(std::move(first));
  items.push_back(std::move(second));
  return NewTuple(std::move(items));
}

Callable* Heap::NewMethod(std::string_view name, NativeFunction native, Value self) {
  Callable* callable = New<Callable>();
  callable->name = name;
  callable->native = native;
  callable->self = std::move(self);
  return callable;
}

void Heap::Append(Dict& dict, Value key, Value value) {
  budget_.Grow(2 * sizeof(Value));
  dict.entries.emplace_back(std::move(key), std::move(value));
}

}  // namespace quire::jinja
