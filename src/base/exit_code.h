// What a program ends with, by whose mistake it was.
#pragma once

#include "base/result.h"

namespace quire {

// 2: a flag, 3: the model folder, 4: the device, 1: anything else.
int ExitCodeOf(ErrorKind kind);

}  // namespace quire
