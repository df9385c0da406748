// The header of a safetensors file. Format: https://github.com/huggingface/safetensors (README,
// "Format").
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "tensor/dtype.h"

namespace quire {

// One tensor as the header describes it.
struct SafetensorsEntry {
  std::string name;
  std::string dtype;  // "BF16", "F8_E4M3", …: one of the format's
  std::vector<std::int64_t> shape;
  std::uint64_t begin = 0;  // bytes from the start of the data section
  std::uint64_t end = 0;
};

struct SafetensorsHeader {
  std::uint64_t data_start = 0;  // bytes from the start of the file
  std::vector<SafetensorsEntry>
      tensors;  // in the order of their data, which they fill without gaps
};

// Checks everything that the header says. `bytes` is the file from its beginning, as far as the
// header reaches at least; `file_size` is the size of the whole. kModel errors name the file and
// the tensor.
Result<SafetensorsHeader> ParseSafetensorsHeader(std::string_view bytes, std::uint64_t file_size,
                                                 const std::string& file_name);

// The format's dtype as ours, where we compute with it.
std::optional<DType> ToDType(std::string_view safetensors_dtype);

// "[48, 64]"
std::string ShapeText(const std::int64_t* dims, std::size_t rank);

}  // namespace quire
