#include "backend/cpu/gemm.h"

#include <algorithm>
#include <cstring>
#include <new>

namespace quire::cpu {
namespace {

constexpr std::int64_t kMaxRows = 1024;        // of x that are packed at once
constexpr std::int64_t kSerialWork = 1 << 17;  // multiplications not worth a second thread
constexpr std::int64_t kPieceBytes = 1 << 17;  // of weight, that a thread takes at once
constexpr std::int64_t kFewRows = 48;          // up to here a weight is read once, in order
constexpr std::int64_t kPiecePanels = 4;
constexpr std::int64_t kPieceRows = 128;
constexpr std::int64_t kPackSerialElements = 1 << 14;

std::int64_t CeilDiv(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

Buffer AllocateOrThrow(std::size_t bytes) {
  Result<Buffer> buffer = AllocateHost(bytes);
  if (!buffer.ok()) throw std::bad_alloc();
  return std::move(*buffer);
}

// One panel's share of W's columns [k, k + count), already in the weight's dtype: T is one element,
// or a pair.
template <class T>
void Interleave(const T* row, std::int64_t count, int width, T* panel) {
  for (std::int64_t k = 0; k < count; ++k) panel[k * width] = row[k];
}

// Packs rows of W into panels, a block of columns at a time so that what is written stays in the
// cache.
void PackPanels(const CpuKernels& kernels, const GemmKernel& kernel, const Tensor& weight,
                DType dtype, std::int64_t first_panel, std::int64_t last_panel,
                std::int64_t padded_k, char* packed) {
  constexpr std::int64_t kBlock = 256;
  float wide[kBlock];
  float narrow[kBlock] = {};  // holds any dtype
  const std::size_t size = SizeOf(dtype);
  const std::int64_t columns = weight.row_size();
  for (std::int64_t panel = first_panel; panel < last_panel; ++panel) {
    char* base = packed + static_cast<std::size_t>(panel * padded_k * kernel.panel_width) * size;
    const std::int64_t first = panel * kernel.panel_width;
    const std::int64_t rows = std::min<std::int64_t>(kernel.panel_width, weight.rows() - first);
    for (std::int64_t k = 0; k < columns; k += kBlock) {
      const std::int64_t count = std::min(kBlock, columns - k);
      char* block = base + static_cast<std::size_t>(k * kernel.panel_width) * size;
      for (std::int64_t row = 0; row < rows; ++row) {
        const char* source = static_cast<const char*>(weight.raw()) +
                             static_cast<std::size_t>((first + row) * weight.row_stride() + k) *
                                 SizeOf(weight.dtype());
        if (weight.dtype() == dtype) {
          std::memcpy(narrow, source, static_cast<std::size_t>(count) * size);
        } else {
          kernels.to_float(weight.dtype(), source, count, wide);
          kernels.from_float(dtype, wide, count, narrow);
        }
        if (kernel.pairs) {
          auto* bits = reinterpret_cast<std::uint16_t*>(narrow);
          if (count % 2 != 0) bits[count] = 0;
          Interleave(reinterpret_cast<const std::uint32_t*>(narrow), CeilDiv(count, 2),
                     kernel.panel_width, reinterpret_cast<std::uint32_t*>(block) + row);
        } else if (size == sizeof(float)) {
          Interleave(narrow, count, kernel.panel_width, reinterpret_cast<float*>(block) + row);
        } else {
          Interleave(reinterpret_cast<const std::uint16_t*>(narrow), count, kernel.panel_width,
                     reinterpret_cast<std::uint16_t*>(block) + row);
        }
      }
    }
  }
}

}  // namespace

const GemmKernel& Gemm::KernelFor(DType dtype) const {
  if (dtype == DType::kBF16) return kernels_.bf16;
  if (dtype == DType::kF16) return kernels_.f16;
  return kernels_.f32;
}

LinearWeight Gemm::Pack(const Tensor& weight, const Tensor& bias, DType dtype) {
  const GemmKernel& kernel = KernelFor(dtype);
  LinearWeight packed;
  packed.dtype = dtype;
  packed.out_features = weight.rows();
  packed.in_features = weight.row_size();
  const std::int64_t panels = CeilDiv(packed.out_features, kernel.panel_width);
  const std::int64_t k = CeilDiv(packed.in_features, kernel.k_multiple) * kernel.k_multiple;
  packed.packed =
      AllocateOrThrow(static_cast<std::size_t>(panels * kernel.panel_width * k) * SizeOf(dtype));
  auto* data = static_cast<char*>(packed.packed.data());
  pool_.ParallelFor(panels, std::max<std::int64_t>(1, panels / (8 * pool_.num_threads())),
                    [&](std::int64_t begin, std::int64_t end, int) {
                      PackPanels(kernels_, kernel, weight, dtype, begin, end, k, data);
                    });
  if (!bias.empty()) {
    packed.bias = AllocateOrThrow(static_cast<std::size_t>(packed.out_features) * sizeof(float));
    kernels_.to_float(bias.dtype(), bias.raw(), packed.out_features,
                      static_cast<float*>(packed.bias.data()));
  }
  return packed;
}

void Gemm::Multiply(const Tensor& x, const LinearWeight& weight, const Tensor& out) {
  const GemmKernel& kernel = KernelFor(weight.dtype);
  for (std::int64_t row = 0; row < x.rows(); row += kMaxRows) {
    const std::int64_t rows = std::min(kMaxRows, x.rows() - row);
    MultiplyRows(kernel, x.Rows(row, rows), weight, out.Rows(row, rows));
  }
}

void Gemm::MultiplyRows(const GemmKernel& kernel, const Tensor& x, const LinearWeight& weight,
                        const Tensor& out) {
  const std::int64_t rows = x.rows();
  const std::int64_t in = weight.in_features;
  GemmArgs args;
  args.rows = rows;
  args.weight = weight.packed.data();
  args.k = CeilDiv(in, kernel.k_multiple) * kernel.k_multiple;
  args.out_features = weight.out_features;
  args.bias = static_cast<const float*>(weight.bias.data());
  args.out = out.data<float>();
  args.out_stride = out.row_stride();
  const std::int64_t block = kXBlockBytes / static_cast<std::int64_t>(SizeOf(kernel.x));
  char* packed = packed_x_.Get<char>(CeilDiv(args.k, block) * rows * kXRowBytes);
  args.x = packed;
  pool_.ParallelFor(
      rows, CeilDiv(kPackSerialElements, in), [&](std::int64_t begin, std::int64_t end, int) {
        kernel.pack_x(x.data<float>(), x.row_stride(), rows, in, args.k, begin, end, packed);
      });

  const std::int64_t panels = CeilDiv(weight.out_features, kernel.panel_width);
  if (rows * weight.out_features * in <= kSerialWork) {
    kernel.compute(args, 0, panels, 0, rows);
    return;
  }
  // Pieces: runs of panels for some rows. With many rows, as many of both as stay in a core's
  // cache.
  const std::int64_t threads = pool_.num_threads();
  const bool few = rows <= kFewRows;
  const std::int64_t panel_bytes =
      kernel.panel_width * args.k * static_cast<std::int64_t>(SizeOf(weight.dtype));
  const std::int64_t wanted = few ? kPieceBytes / panel_bytes : kPiecePanels;
  const std::int64_t run =
      std::clamp<std::int64_t>(wanted, 1, std::max<std::int64_t>(1, panels / (2 * threads)));
  const std::int64_t runs = CeilDiv(panels, run);
  const std::int64_t tiles = CeilDiv(rows, kernel.max_tile_rows);
  const std::int64_t cuts =
      std::min(tiles, std::max(few ? 1 : CeilDiv(rows, kPieceRows), CeilDiv(2 * threads, runs)));
  // A cut lies between tiles of about equal height.
  const auto row_of_cut = [&](std::int64_t cut) { return rows * (tiles * cut / cuts) / tiles; };
  pool_.ParallelFor(runs * cuts, 1, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t piece = begin; piece < end; ++piece) {
      const std::int64_t cut = piece % cuts;
      const std::int64_t first = piece / cuts * run;
      kernel.compute(args, first, std::min(first + run, panels), row_of_cut(cut),
                     row_of_cut(cut + 1));
    }
  });
}

}  // namespace quire::cpu
