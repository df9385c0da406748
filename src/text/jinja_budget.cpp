#include "text/jinja_budget.h"

#include <algorithm>
#include <ctime>

namespace quire::jinja {
namespace {

constexpr std::int64_t kStepsBetweenChecks = 1024;

double ThreadSeconds() {
  std::timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

}  // namespace

Budget::Budget(const Limits& limits) : limits_(limits), start_(ThreadSeconds()) {
  next_check_ = std::min(kStepsBetweenChecks, limits_.steps);
}

void Budget::Check() {
  if (steps_ >= limits_.steps) throw TemplateError("the template takes too many steps");
  if (ThreadSeconds() - start_ > limits_.seconds)
    throw TemplateError("the template takes too much time");
  next_check_ = std::min(steps_ + kStepsBetweenChecks, limits_.steps);
}

void Budget::Require(std::size_t bytes) const {
  if (bytes > limits_.memory_bytes || memory_ > limits_.memory_bytes - bytes)
    throw TemplateError("the template needs too much memory");
}

void Budget::Grow(std::size_t bytes) {
  Require(bytes);
  memory_ += bytes;
}

}  // namespace quire::jinja
