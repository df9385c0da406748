// Slices of a weight made one matrix in host memory, for back ends that pack from host memory.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "backend/backend.h"

namespace quire {

// Owns rows gathered from several slices.
struct GatheredRows {
  std::vector<std::uint64_t> memory;  // of the alignment that every element type needs
  Tensor view;
};

// Copies a vector of any float dtype as `dtype`: its own, or float32.
void CopyVector(const Tensor& from, void* to, DType dtype);

// [rows of all, columns], of the slices' dtype where they agree, else float32.
GatheredRows GatherWeights(std::span<const WeightSlice> slices);
// [rows of all]; empty where there are none.
GatheredRows GatherBiases(std::span<const WeightSlice> slices);

}  // namespace quire
