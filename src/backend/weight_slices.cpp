#include "backend/weight_slices.h"

#include <cstring>

namespace quire {
namespace {

float ElementAt(const Tensor& row, std::int64_t i) {
  switch (row.dtype()) {
    case DType::kF32:
      return row.data<float>()[i];
    case DType::kBF16:
      return BF16ToFloat(row.data<std::uint16_t>()[i]);
    case DType::kF16:
      return F16ToFloat(row.data<std::uint16_t>()[i]);
    default:
      QUIRE_CHECK(false);  // a TensorStore gives floats only
      return 0.0F;
  }
}

// The dtype that holds all slices exactly: theirs where they agree, else float32.
template <class Part>
DType CommonDType(std::span<const WeightSlice> slices, Part part) {
  for (const WeightSlice& slice : slices)
    if (part(slice).dtype() != part(slices[0]).dtype()) return DType::kF32;
  return part(slices[0]).dtype();
}

}  // namespace

void CopyVector(const Tensor& from, void* to, DType dtype) {
  if (from.dtype() == dtype) {
    std::memcpy(to, from.raw(), from.num_bytes());
    return;
  }
  auto* out = static_cast<float*>(to);
  for (std::int64_t i = 0; i < from.rows(); ++i) out[i] = ElementAt(from, i);
}

GatheredRows GatherWeights(std::span<const WeightSlice> slices) {
  const DType dtype = CommonDType(slices, [](const WeightSlice& s) { return s.weight; });
  const std::int64_t columns = slices[0].weight.dim(1);
  std::int64_t rows = 0;
  for (const WeightSlice& slice : slices) rows += slice.weight.rows();
  GatheredRows all;
  const std::size_t row_bytes = static_cast<std::size_t>(columns) * SizeOf(dtype);
  all.memory.resize(static_cast<std::size_t>(rows) * row_bytes / sizeof(std::uint64_t) + 1);
  all.view = Tensor(all.memory.data(), dtype, {rows, columns});
  char* to = all.view.data<char>();
  for (const WeightSlice& slice : slices) {
    for (std::int64_t r = 0; r < slice.weight.rows(); ++r, to += row_bytes)
      CopyVector(Tensor(slice.weight.Rows(r, 1).raw(), slice.weight.dtype(), {columns}), to, dtype);
  }
  return all;
}

GatheredRows GatherBiases(std::span<const WeightSlice> slices) {
  if (slices[0].bias.empty()) return {};
  const DType dtype = CommonDType(slices, [](const WeightSlice& s) { return s.bias; });
  std::int64_t rows = 0;
  for (const WeightSlice& slice : slices) rows += slice.bias.rows();
  GatheredRows all;
  all.memory.resize(static_cast<std::size_t>(rows) * SizeOf(dtype) / sizeof(std::uint64_t) + 1);
  all.view = Tensor(all.memory.data(), dtype, {rows});
  char* to = all.view.data<char>();
  for (const WeightSlice& slice : slices) {
    CopyVector(slice.bias, to, dtype);
    to += static_cast<std::size_t>(slice.bias.rows()) * SizeOf(dtype);
  }
  return all;
}

}  // namespace quire
