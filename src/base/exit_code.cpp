#include "base/exit_code.h"

namespace quire {

int ExitCodeOf(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kConfig:
      return 2;
    case ErrorKind::kModel:
      return 3;
    case ErrorKind::kDevice:
      return 4;
    default:
      return 1;
  }
}

}  // namespace quire
