#include "tensor/tensor.h"

namespace quire {

Tensor::Tensor(void* data, DType dtype, std::initializer_list<std::int64_t> shape, Device device)
    : data_(data), dtype_(dtype), device_(device), rank_(static_cast<int>(shape.size())) {
  QUIRE_CHECK(shape.size() <= kMaxRank);
  std::size_t i = 0;
  for (const std::int64_t side : shape) shape_[i++] = side;
  row_stride_ = row_size();
}

std::int64_t Tensor::row_size() const {
  std::int64_t size = 1;
  for (int i = 1; i < rank_; ++i) size *= dim(i);
  return size;
}

Tensor Tensor::Rows(std::int64_t first, std::int64_t count) const {
  QUIRE_CHECK(first >= 0 && count >= 0 && first + count <= rows());
  Tensor part = *this;
  part.data_ =
      static_cast<char*>(data_) + static_cast<std::size_t>(first * row_stride_) * SizeOf(dtype_);
  part.shape_[0] = count;
  return part;
}

Tensor Tensor::Columns(std::int64_t first, std::int64_t count) const {
  QUIRE_CHECK(rank_ == 2 && first >= 0 && count >= 0 && first + count <= dim(1));
  Tensor part = *this;
  part.data_ = static_cast<char*>(data_) + static_cast<std::size_t>(first) * SizeOf(dtype_);
  part.shape_[1] = count;
  return part;
}

Tensor Tensor::Reshape(std::initializer_list<std::int64_t> shape) const {
  Tensor other(data_, dtype_, shape, device_);
  QUIRE_CHECK(dense() && other.num_elements() == num_elements());
  return other;
}

Tensor Tensor::SplitColumns(std::int64_t parts, std::int64_t size) const {
  QUIRE_CHECK(rank_ == 2 && parts * size == dim(1));
  Tensor split = *this;
  split.rank_ = 3;
  split.shape_[1] = parts;
  split.shape_[2] = size;
  return split;
}

Tensor Buffer::View(DType dtype, std::initializer_list<std::int64_t> shape) const {
  Tensor view(data_, dtype, shape, device_);
  QUIRE_CHECK(view.num_bytes() <= bytes_);
  return view;
}

Tensor Arena::Take(DType dtype, std::initializer_list<std::int64_t> shape) {
  Tensor view(static_cast<char*>(buffer_.data()) + used_, dtype, shape, buffer_.device());
  const std::size_t bytes = (view.num_bytes() + kAlignment - 1) / kAlignment * kAlignment;
  QUIRE_CHECK(used_ + bytes <= buffer_.bytes());
  used_ += bytes;
  return view;
}

}  // namespace quire
