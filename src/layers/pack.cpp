#include "layers/pack.h"

#include <fmt/core.h>

#include <new>

#include "backend/weight_slices.h"

namespace quire {
namespace {

void Report(BuildContext& ctx, std::size_t bytes) {
  if (ctx.loaded) ctx.loaded(bytes);
}

}  // namespace

LinearWeight PackSlices(BuildContext& ctx, const std::vector<WeightSlice>& slices) {
  std::size_t bytes = 0;
  for (const WeightSlice& slice : slices)
    bytes += slice.weight.num_bytes() + slice.bias.num_bytes();
  LinearWeight packed = ctx.backend.PackLinear(slices, ctx.dtype);
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
  CopyVector(vector, values.data(), DType::kF32);
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
