#pragma once

#include <cstddef>

namespace quire::testing_models {

std::size_t NumAllocations();  // calls of operator new since the program began

}  // namespace quire::testing_models
