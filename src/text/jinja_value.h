// Values of the template language: small handles of numbers and strings, and of objects that a Heap
// owns.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja_budget.h"

namespace quire::jinja {

class Value;
class Interpreter;
struct Arguments;
struct Macro;
struct Scope;

// The bytes of a string value (always valid UTF-8). Counted references where a rendering made it;
// a constant of the template (no budget) is never counted, so that threads can share it.
struct Text {
  std::string bytes;
  Budget* budget = nullptr;
  std::uint32_t references = 0;
  bool markup = false;  // `safe` or escaped: what is added to it gets HTML-escaped
};

// Everything that is neither a number nor a string. Owned by the Heap, which frees all at the end
// of a rendering: cycles and deep nesting need no care.
struct Object {
  virtual ~Object() = default;
};

enum class SeqType : std::uint8_t {
  kList,
  kTuple,
  kGroup,
  kRange,
  kGenerator,
  kDictItems,
  kDictKeys,
  kDictValues
};

enum class Kind : std::uint8_t {
  kUndefined,
  kNone,
  kBool,
  kInt,
  kFloat,
  kString,
  kSeq,
  kDict,
  kNamespace,
  kCallable,
  kLoop
};

// Why a value is undefined; decides what an operation on it says.
enum class Missing : std::uint8_t {
  kName,       // 'x' is undefined
  kParameter,  // parameter 'x' was not provided
  kAttribute,  // 'dict object' has no attribute 'x'
  kUnsafe,     // access to attribute 'x' of 'list' object is unsafe.
  kElement,    // 'list object' has no such element
  kFirst,      // No first item, sequence was empty.
  kLast,
  kAggregate,
  kCondition,  // the inline if-expression had no else
};

struct Seq;
struct Dict;
struct Namespace;
struct Callable;
struct Loop;

// One value, 16 bytes, copied freely. Objects are not owned; strings are (counted).
class Value {
 public:
  Value() { payload_.text = nullptr; }
  Value(const Value& other) : head_(other.head_), payload_(other.payload_) { Acquire(); }
  Value(Value&& other) noexcept : head_(other.head_), payload_(other.payload_) {
    other.head_.kind = Kind::kNone;
  }
  Value& operator=(Value other) noexcept {
    std::swap(head_, other.head_);
    std::swap(payload_, other.payload_);
    return *this;
  }
  ~Value() { Release(); }

  static Value None() { return Value(Kind::kNone); }
  static Value Bool(bool value);
  static Value Int(std::int64_t value);
  static Value Float(double value);
  static Value String(Text* text);
  static Value Of(Seq* seq);
  static Value Of(Dict* dict);
  static Value Of(Namespace* space);
  static Value Of(Callable* callable);
  static Value Of(Loop* loop);
  // `name` is a constant of the template, or null where the missing thing has no name that may be
  // told; `owner` is what lacks an attribute.
  static Value Undefined(Missing why, const Text* name = nullptr, const Value* owner = nullptr);

  Kind kind() const { return head_.kind; }
  bool is(Kind kind) const { return head_.kind == kind; }
  bool is_undefined() const { return is(Kind::kUndefined); }
  bool is_none() const { return is(Kind::kNone); }
  bool is_string() const { return is(Kind::kString); }
  bool is_dict() const { return is(Kind::kDict); }
  bool is_integral() const { return is(Kind::kInt) || is(Kind::kBool); }
  bool is_number() const { return is_integral() || is(Kind::kFloat); }
  bool is_seq(SeqType type) const;

  bool boolean() const { return payload_.integer != 0; }
  std::int64_t integer() const { return payload_.integer; }  // of kInt and kBool
  double number() const;                                     // of any number
  const std::string& text() const { return payload_.text->bytes; }
  const Text* text_object() const { return payload_.text; }
  bool is_markup() const { return is_string() && payload_.text->markup; }
  Seq& seq() const { return *payload_.seq; }
  Dict& dict() const { return *payload_.dict; }
  Namespace& space() const { return *payload_.space; }
  Callable& callable() const { return *payload_.callable; }
  Loop& loop() const { return *payload_.loop; }
  Missing missing() const { return head_.missing; }
  const void* identity() const { return payload_.text; }

  std::string_view TypeName() const;     // as Python names it: str, NoneType, dict, …
  std::string UndefinedMessage() const;  // of an undefined value
  bool Truthy() const;

 private:
  struct Head {
    Kind kind = Kind::kUndefined;
    Missing missing = Missing::kName;
    std::uint8_t owner = 0;  // of a missing attribute: the type that lacks it, see TypeIndex
  };
  union Payload {
    std::int64_t integer;
    double number;
    Text* text;
    const Text* name;
    Seq* seq;
    Dict* dict;
    Namespace* space;
    Callable* callable;
    Loop* loop;
  };

  explicit Value(Kind kind) {
    head_.kind = kind;
    payload_.text = nullptr;
  }
  void Acquire() {
    if (is_string() && payload_.text->budget != nullptr) ++payload_.text->references;
  }
  void Release() {
    if (is_string() && payload_.text->budget != nullptr && --payload_.text->references == 0)
      Free(payload_.text);
  }
  std::uint8_t TypeIndex() const;
  static void Free(Text* text);

  Head head_;
  Payload payload_;
};

// A list, tuple, range, view of a dict, or generator (all of whose items are computed when it is
// made).
struct Seq : Object {
  SeqType type = SeqType::kList;
  std::vector<Value> items;
  std::size_t next = 0;               // of a generator: how many items were taken
  std::int64_t range[3] = {0, 0, 1};  // of a range: start, stop, step
};

// A dict in the order of insertion.
struct Dict : Object {
  std::vector<std::pair<Value, Value>> entries;

  const Value* Find(std::string_view key) const;
};

// What namespace() makes: attributes that a template may assign.
struct Namespace : Object {
  Dict attributes;
};

using NativeFunction = Value (*)(Interpreter&, const Value& self, const Arguments& args);

// A macro with the scope it was defined in, a global function, or a method bound to its value.
struct Callable : Object {
  std::string_view name;
  NativeFunction native = nullptr;
  Value self;                    // of a bound method
  const Macro* macro = nullptr;  // where native is null
  Scope* scope = nullptr;
};

// Variables of one block of a template.
struct Scope : Object {
  Scope* parent = nullptr;
  std::vector<std::pair<int, Value>> variables;

  const Value* FindHere(int symbol) const;
  void Set(int symbol, Value value);
};

// Arguments of a call. The names live as long as the template or a dict of the rendering.
struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string_view, Value>> named;
};

// Owns every object of one rendering and counts them against its budget.
class Heap {
 public:
  explicit Heap(const Limits& limits) : budget_(limits) {}
  Heap(const Heap&) = delete;
  Heap& operator=(const Heap&) = delete;

  Budget& budget() { return budget_; }
  Value NewString(std::string bytes, bool markup = false);
  Value NewSeq(SeqType type, std::vector<Value> items);
  Value NewList(std::vector<Value> items) { return NewSeq(SeqType::kList, std::move(items)); }
  Value NewTuple(std::vector<Value> items) { return NewSeq(SeqType::kTuple, std::move(items)); }
  Value NewPair(Value first, Value second);
  Callable* NewMethod(std::string_view name, NativeFunction native, Value self);
  // Adds a key that the dict does not have; SetItem in jinja_operators.h looks first.
  void Append(Dict& dict, Value key, Value value);

  template <class T>
  T* New() {
    budget_.Grow(sizeof(T) + 16);
    auto owned = std::make_unique<T>();
    T* object = owned.get();
    objects_.push_back(std::move(owned));
    return object;
  }

 private:
  Budget budget_;  // outlives the objects
  std::vector<std::unique_ptr<Object>> objects_;
};

}  // namespace quire::jinja
