#include "layers/pack.h"

#include <fmt/core.h>

#include <cstring>
#include <new>

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

void CopyRow(const Tensor& from, void* to, DType dtype) {
  if (from.dtype() == dtype) {
    std::memcpy(to, from.raw(), from.num_bytes());
    return;
  }
  auto* out = static_cast<float*>(to);
  for (std::int64_t i = 0; i < from.rows(); ++i) out[i] = ElementAt(from, i);
}

// Host memory of one dtype that slices are gathered in.
struct Gathered {
  std::vector<std::uint64_t> memory;  // of the alignment that every element type needs
  Tensor view;
};

// The dtype that holds all slices exactly: theirs where they agree, else float32.
template <class Part>
DType CommonDType(const std::vector<WeightSlice>& slices, Part part) {
  for (const WeightSlice& slice : slices)
    if (part(slice).dtype() != part(slices[0]).dtype()) return DType::kF32;
  return part(slices[0]).dtype();
}

Gathered GatherWeights(const std::vector<WeightSlice>& slices) {
  const DType dtype = CommonDType(slices, [](const WeightSlice& s) { return s.weight; });
  const std::int64_t columns = slices[0].weight.dim(1);
  std::int64_t rows = 0;
  for (const WeightSlice& slice : slices) rows += slice.weight.rows();
  Gathered all;
  const std::size_t row_bytes = static_cast<std::size_t>(columns) * SizeOf(dtype);
  all.memory.resize(static_cast<std::size_t>(rows) * row_bytes / sizeof(std::uint64_t) + 1);
  all.view = Tensor(all.memory.data(), dtype, {rows, columns});
  char* to = all.view.data<char>();
  for (const WeightSlice& slice : slices) {
    for (std::int64_t r = 0; r < slice.weight.rows(); ++r, to += row_bytes)
      CopyRow(slice.weight.Rows(r, 1).Columns(0, columns).Reshape({columns}), to, dtype);
  }
  return all;
}

Gathered GatherBiases(const std::vector<WeightSlice>& slices) {
  if (slices[0].bias.empty()) return {};
  const DType dtype = CommonDType(slices, [](const WeightSlice& s) { return s.bias; });
  std::int64_t rows = 0;
  for (const WeightSlice& slice : slices) rows += slice.bias.rows();
  Gathered all;
  all.memory.resize(static_cast<std::size_t>(rows) * SizeOf(dtype) / sizeof(std::uint64_t) + 1);
  all.view = Tensor(all.memory.data(), dtype, {rows});
  char* to = all.view.data<char>();
  for (const WeightSlice& slice : slices) {
    CopyRow(slice.bias, to, dtype);
    to += static_cast<std::size_t>(slice.bias.rows()) * SizeOf(dtype);
  }
  return all;
}

void Report(BuildContext& ctx, std::size_t bytes) {
  if (ctx.loaded) ctx.loaded(bytes);
}

}  // namespace

LinearWeight PackSlices(BuildContext& ctx, const std::vector<WeightSlice>& slices) {
  std::size_t bytes = 0;
  for (const WeightSlice& slice : slices)
    bytes += slice.weight.num_bytes() + slice.bias.num_bytes();
  LinearWeight packed;
  if (slices.size() == 1) {
    packed = ctx.backend.PackLinear(slices[0].weight, slices[0].bias, ctx.dtype);
  } else {
    const Gathered weight = GatherWeights(slices);
    const Gathered bias = GatherBiases(slices);
    packed = ctx.backend.PackLinear(weight.view, bias.view, ctx.dtype);
    ctx.backend.Synchronize();  // before the gathered copy goes
  }
  Report(ctx, bytes);
  return packed;
}

Buffer UploadFloat32(BuildContext& ctx, const std::vector<float>& values) {
  const std::size_t bytes = values.size() * sizeof(float);
  auto buffer = ctx.backend.Allocate(bytes);
  if (!buffer) throw std::bad_alloc();
  const auto count = static_cast<std::int64_t>(values.size());
  ctx.backend.CopyToDevice(values.data(), buffer->View(DType::kF32, {count}));
  ctx.backend.Synchronize();
  return std::move(buffer).value();
}

Buffer UploadFloat32(BuildContext& ctx, const Tensor& vector) {
  std::vector<float> values(static_cast<std::size_t>(vector.rows()));
  CopyRow(vector, values.data(), DType::kF32);
  Report(ctx, vector.num_bytes());
  return UploadFloat32(ctx, values);
}

std::int64_t ShareOf(std::int64_t whole, int parts, const char* what) {
  if (whole % parts != 0) {
    throw LoadError(fmt::format("config.json: {} {} is not divisible by --tensor-parallel-size {}",
                                what, whole, parts));
  }
  return whole / parts;
}

}  // namespace quire
