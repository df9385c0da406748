#include "base/check.h"

#include <cstdio>
#include <cstdlib>

namespace quire {

void CheckFailed(const char* condition, const char* file, int line) {
  std::fprintf(stderr, "quire: internal error: %s does not hold (%s:%d)\n", condition, file, line);
  std::abort();
}

}  // namespace quire
