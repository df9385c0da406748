// QUIRE_CHECK aborts on a broken invariant of our own. Nothing that a client, a flag or a model
// file says may reach one (rule 9): such conditions are Results.
#pragma once

namespace quire {

[[noreturn]] void CheckFailed(const char* condition, const char* file, int line);

}  // namespace quire

#define QUIRE_CHECK(condition) \
  ((condition) ? void(0) : ::quire::CheckFailed(#condition, __FILE__, __LINE__))
