// What the interpreter changes for a while and puts back.
#pragma once

#include <utility>

#include "text/jinja_interpreter.h"

namespace quire::jinja {

// Shows the variables of another scope while it lives.
class Interpreter::ScopeGuard {
 public:
  ScopeGuard(Interpreter& interpreter, Scope* scope)
      : interpreter_(interpreter), outer_(std::exchange(interpreter.scope_, scope)) {}
  ScopeGuard(const ScopeGuard&) = delete;
  ScopeGuard& operator=(const ScopeGuard&) = delete;
  ~ScopeGuard() { interpreter_.scope_ = outer_; }

 private:
  Interpreter& interpreter_;
  Scope* outer_;
};

// Counts one level of a depth that has a limit.
class Interpreter::DepthGuard {
 public:
  DepthGuard(int& depth, int limit, const char* message) : depth_(depth) {
    if (depth_ >= limit) throw TemplateError(message);
    ++depth_;
  }
  DepthGuard(const DepthGuard&) = delete;
  DepthGuard& operator=(const DepthGuard&) = delete;
  ~DepthGuard() { --depth_; }

 private:
  int& depth_;
};

}  // namespace quire::jinja
