// What the operators of the language, subscripts and printing do, with Python's meaning.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/jinja_ast.h"
#include "text/jinja_value.h"

namespace quire::jinja {

// Throws what jinja2 says of an operation on this undefined value.
[[noreturn]] void FailUndefined(const Value& value);

bool Equal(Heap& heap, const Value& a, const Value& b, int depth = 0);
// a < b and so on; `op` is one of the four orders. Throws where Python does.
bool Ordered(Heap& heap, Operator op, const Value& a, const Value& b, int depth = 0);
bool Contains(Heap& heap, const Value& container, const Value& item);
bool Compare(Heap& heap, Operator op, const Value& a, const Value& b);
Value Arithmetic(Heap& heap, Operator op, const Value& a, const Value& b);
Value Negate(const Value& value);

// str() and repr().
std::string Print(Heap& heap, const Value& value);
std::string Repr(Heap& heap, const Value& value);

// object.name and object[key] as jinja2 has them: undefined where there is none.
Value GetAttribute(Heap& heap, const Value& object, const Text& name);
Value GetItem(Heap& heap, const Value& object, const Value& key);
Value GetSlice(Heap& heap, const Value& object, const Value& start, const Value& stop,
               const Value& step);
// Assigns to a key of a dict under construction.
void SetItem(Heap& heap, Dict& dict, Value key, Value value);
// The value of a key, or null.
const Value* FindKey(Heap& heap, const Dict& dict, const Value& key);

// The items that iterating gives; a generator is then exhausted.
std::vector<Value> Iterate(Heap& heap, const Value& value);
bool IsIterable(const Value& value);
std::size_t Length(Heap& heap, const Value& value);

}  // namespace quire::jinja
