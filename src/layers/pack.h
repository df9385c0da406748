// How constructors bring weights onto the device.
#pragma once

#include <vector>

#include "layers/context.h"

namespace quire {

// One weight whose rows are those of the slices, in order. Several slices are gathered in host
// memory that is gone when this returns; a single one is packed from where it lies.
LinearWeight PackSlices(BuildContext& ctx, const std::vector<WeightSlice>& slices);

// A vector of any float dtype as float32 on the device.
Buffer UploadFloat32(BuildContext& ctx, const Tensor& vector);
Buffer UploadFloat32(BuildContext& ctx, const std::vector<float>& values);

// whole / parts. Throws LoadError that names the field and --tensor-parallel-size where it does not
// divide.
std::int64_t ShareOf(std::int64_t whole, int parts, const char* what);

}  // namespace quire
