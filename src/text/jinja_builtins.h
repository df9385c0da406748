// The filters, tests, methods and global functions, found by name, and how they read their
// arguments.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string_view>

#include "text/jinja_value.h"

namespace quire::jinja {

// Null where there is none of that name.
NativeFunction FindFilter(std::string_view name);
NativeFunction FindTest(std::string_view name);      // gives a bool
NativeFunction FindFunction(std::string_view name);  // range, namespace, …: called without self

// A row of a table of built-ins; without a function where there is none of that name.
struct Builtin {
  std::string_view name;
  NativeFunction native = nullptr;
};
template <std::size_t n>
Builtin FindIn(const Builtin (&table)[n], std::string_view name) {
  for (const Builtin& each : table)
    if (each.name == name) return each;
  return {};
}

// A method of a string, dict or sequence.
Builtin FindMethod(const Value& object, std::string_view name);
// loop.index and so on.
bool FindLoopAttribute(Heap& heap, const Value& loop, std::string_view name, Value& found);

// The parts of the tables above, each in the file of its subject.
NativeFunction FindStringFilter(std::string_view name);
NativeFunction FindSequenceFilter(std::string_view name);
NativeFunction FindSelectingFilter(std::string_view name);
Builtin FindStringMethod(std::string_view name);

// Arguments by the names of parameters, as Python binds them. Throws where they do not fit.
class Parameters {
 public:
  Parameters(std::string_view function, const Arguments& arguments,
             std::initializer_list<std::string_view> names, std::size_t required = 0);

  bool given(std::size_t index) const { return given_[index]; }
  const Value& operator[](std::size_t index) const { return values_[index]; }
  Value Or(std::size_t index, Value fallback) const {
    return given_[index] ? values_[index] : fallback;
  }
  bool Bool(std::size_t index, bool fallback) const;
  // Throws where the value is no integer or has the wrong type; None is the fallback.
  std::int64_t Int(std::size_t index, std::int64_t fallback) const;
  std::string_view Text(std::size_t index, std::string_view fallback) const;

 private:
  static constexpr std::size_t kMax = 6;
  std::array<Value, kMax> values_;
  std::array<bool, kMax> given_{};
};

}  // namespace quire::jinja
