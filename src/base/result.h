// Result<T>: a value, or an Error that says what a user can do about it.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "base/check.h"

namespace quire {

// Whose mistake it is; decides the HTTP status and the exit code.
enum class ErrorKind : unsigned char {
  kInvalidRequest,  // 400: a field of a request
  kNotFound,        // 404
  kOverloaded,      // 429: the queue is full
  kUnavailable,     // 503: loading, draining, or the engine is away
  kConfig,          // exit code 2: a flag
  kModel,           // exit code 3: something inside a model folder
  kDevice,          // exit code 4: the device or its memory
  kInternal,        // 500: ours
};

struct Error {
  ErrorKind kind = ErrorKind::kInternal;
  std::string message;  // one line for the user; over HTTP it never holds paths or addresses
  std::string param;    // JSON path of the request field, or empty
  std::string code;     // OpenAI's error.code, or empty
};

Error InvalidRequest(std::string message, std::string param, std::string code = "");
Error ModelFault(std::string message);   // names the file and the field or tensor
Error ConfigFault(std::string message);  // names the flag

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT: implicit
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT: implicit

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  T& value() & {
    QUIRE_CHECK(ok());
    return *std::get_if<0>(&state_);
  }
  const T& value() const& {
    QUIRE_CHECK(ok());
    return *std::get_if<0>(&state_);
  }
  T&& value() && {
    QUIRE_CHECK(ok());
    return std::move(*std::get_if<0>(&state_));
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  Error& error() {
    QUIRE_CHECK(!ok());
    return *std::get_if<1>(&state_);
  }
  const Error& error() const {
    QUIRE_CHECK(!ok());
    return *std::get_if<1>(&state_);
  }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}  // NOLINT: implicit

  bool ok() const { return !error_.has_value(); }
  explicit operator bool() const { return ok(); }
  Error& error() {
    QUIRE_CHECK(!ok());
    return *error_;
  }
  const Error& error() const {
    QUIRE_CHECK(!ok());
    return *error_;
  }

 private:
  std::optional<Error> error_;
};

using Status = Result<void>;

}  // namespace quire

// Leaves the function with the error of a Status or Result expression.
#define QUIRE_RETURN_IF_ERROR(expression)                                                  \
  do {                                                                                     \
    if (auto quire_status = (expression); !quire_status.ok()) return quire_status.error(); \
  } while (false)
