// What one rendering of a template may use up, and the error that ends it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <string>
#include <utility>

namespace quire::jinja {

// Ends parsing or rendering. It stays inside the interpreter: ChatTemplate catches it and returns a
// Result.
class TemplateError : public std::exception {
 public:
  explicit TemplateError(std::string message, int line = 0, bool raised = false)
      : message_(std::move(message)), line_(line), raised_(raised) {}

  const char* what() const noexcept override { return message_.c_str(); }
  const std::string& message() const { return message_; }
  int line() const { return line_; }       // 0: wherever the interpreter is
  bool raised() const { return raised_; }  // by the template's own raise_exception

 private:
  std::string message_;
  int line_;
  bool raised_;
};

struct Limits {
  std::int64_t steps = 1'000'000;
  std::size_t output_bytes = std::size_t{16} << 20;
  std::size_t memory_bytes = std::size_t{64} << 20;
  int call_depth = 100;  // macros and recursive loops
  int depth = 1500;      // nodes of the syntax tree on the stack, about 1 KiB each
  double seconds = 0.2;  // of this thread's processor time, so that a busy machine refuses nobody
};

// Counts steps, time and bytes of one rendering; owns nothing. Throws TemplateError where a limit
// is passed.
class Budget {
 public:
  explicit Budget(const Limits& limits);

  void Step(std::size_t count = 1) {
    steps_ += static_cast<std::int64_t>(count);
    if (steps_ >= next_check_) Check();
  }
  // A native operation over so many bytes: cheap for each, but not free.
  void StepBytes(std::size_t bytes) { Step(1 + bytes / 256); }
  void Grow(std::size_t bytes);
  void Shrink(std::size_t bytes) { memory_ -= bytes; }
  // Throws where so many bytes could not be had, before anybody tries to allocate them.
  void Require(std::size_t bytes) const;
  const Limits& limits() const { return limits_; }

 private:
  void Check();

  Limits limits_;
  std::int64_t steps_ = 0;
  std::int64_t next_check_ = 0;
  std::size_t memory_ = 0;
  double start_;
};

}  // namespace quire::jinja
