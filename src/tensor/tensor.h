// Tensor (a view), Buffer (an owner), Arena (a step's scratch memory), LinearWeight (what a GEMM
// takes).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <utility>

#include "base/check.h"
#include "tensor/dtype.h"

namespace quire {

// A view of contiguous rows: pointer, shape, dtype, device. Never owns. The last dimension is
// dense; `row_stride` (in elements) lets a [rows, columns] view cut columns out of wider rows.
class Tensor {
 public:
  static constexpr int kMaxRank = 4;

  Tensor() = default;
  Tensor(void* data, DType dtype, std::initializer_list<std::int64_t> shape, Device device = {});

  template <class T>
  T* data() const {
    return static_cast<T*>(data_);
  }
  void* raw() const { return data_; }
  DType dtype() const { return dtype_; }
  Device device() const { return device_; }
  int rank() const { return rank_; }
  std::int64_t dim(int i) const { return shape_[static_cast<std::size_t>(i)]; }
  std::int64_t rows() const { return rank_ == 0 ? 0 : shape_[0]; }
  std::int64_t row_size() const;  // elements of one row: all dims but the first
  std::int64_t row_stride() const { return row_stride_; }  // elements from a row to the next
  bool dense() const { return row_stride_ == row_size(); }
  std::int64_t num_elements() const { return rows() * row_size(); }
  std::size_t num_bytes() const {
    return static_cast<std::size_t>(num_elements()) * SizeOf(dtype_);
  }
  bool empty() const { return data_ == nullptr; }

  Tensor Rows(std::int64_t first, std::int64_t count) const;  // [count, …]
  Tensor Columns(std::int64_t first,
                 std::int64_t count) const;  // of a rank-2 tensor: [rows, count]
  Tensor Reshape(
      std::initializer_list<std::int64_t> shape) const;  // dense only, same number of elements
  // A [rows, parts · size] tensor as [rows, parts, size]; its rows stay as far apart as they were.
  Tensor SplitColumns(std::int64_t parts, std::int64_t size) const;

 private:
  void* data_ = nullptr;
  DType dtype_ = DType::kF32;
  Device device_;
  int rank_ = 0;
  std::array<std::int64_t, kMaxRank> shape_{};
  std::int64_t row_stride_ = 0;
};

// Owns a piece of device memory; movable. Made by Backend::Allocate.
class Buffer {
 public:
  using Free = void (*)(void* data, std::size_t bytes);

  Buffer() = default;
  Buffer(void* data, std::size_t bytes, Device device, Free free)
      : data_(data), bytes_(bytes), device_(device), free_(free) {}
  Buffer(Buffer&& other) noexcept { *this = std::move(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    std::swap(device_, other.device_);
    std::swap(free_, other.free_);
    return *this;
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() {
    if (data_ != nullptr) free_(data_, bytes_);
  }

  void* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }
  Device device() const { return device_; }
  // A view of the whole or the beginning of the buffer.
  Tensor View(DType dtype, std::initializer_list<std::int64_t> shape) const;

 private:
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
  Device device_;
  Free free_ = nullptr;
};

// A step's scratch memory: a bump pointer over one buffer. Reset between steps, so that the same
// step gets the same addresses again and a captured graph can be replayed. Its owner sizes it for
// the largest step; running out of it is a bug of ours.
class Arena {
 public:
  Arena() = default;
  explicit Arena(Buffer buffer) : buffer_(std::move(buffer)) {}

  Tensor Take(DType dtype, std::initializer_list<std::int64_t> shape);
  void Reset() { used_ = 0; }
  std::size_t used() const { return used_; }
  void Release(std::size_t mark) { used_ = mark; }  // back to an earlier used()
  std::size_t capacity() const { return buffer_.bytes(); }

 private:
  static constexpr std::size_t kAlignment = 256;
  Buffer buffer_;
  std::size_t used_ = 0;
};

// How a linear layer's weight is stored. More schemes come with quantization; layers never look.
enum class WeightFormat : std::uint8_t { kDense };

// The weight of y = x Wᵀ + b for one rank, in whatever layout its backend made of it.
struct LinearWeight {
  WeightFormat format = WeightFormat::kDense;
  DType dtype = DType::kF32;      // of the stored weight
  std::int64_t out_features = 0;  // rows of W
  std::int64_t in_features = 0;   // columns of W
  Buffer packed;                  // the backend's own layout
  Buffer bias;                    // [out_features] in the backend's dtype for it, or empty
};

}  // namespace quire
