// GemmTable: which kernel computes which product fastest, by measurement, and the files in which
// that is kept. Knows no GPU.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <string>

#include "base/result.h"
#include "tensor/dtype.h"

namespace quire::cuda {

// A product with a weight [n, k], but for its number of rows.
struct GemmKey {
  std::int64_t n = 0, k = 0;
  DType dtype = DType::kBF16;      // of the weight and of x
  DType out_dtype = DType::kBF16;  // dtype or float32
  bool bias = false;
  friend auto operator<=>(const GemmKey&, const GemmKey&) = default;
};

// The largest number of rows that shares its choice with m: fine where decode steps are.
std::int64_t GemmRowBucket(std::int64_t m);

struct GemmChoice {
  std::string kernel;  // as GemmKernel::name and LtAlgorithm::name
  double microseconds = 0;
};

// Owns the choices of one device.
class GemmTable {
 public:
  // Of rows' bucket, else of the next one that is known, if it is not far. `bucket` is that one.
  const GemmChoice* Find(const GemmKey& key, std::int64_t rows, std::int64_t* bucket) const;
  bool Has(const GemmKey& key, std::int64_t bucket) const;
  void Set(const GemmKey& key, std::int64_t bucket, GemmChoice choice);
  void Remove(const GemmKey& key, std::int64_t bucket);
  std::size_t size() const;

  // Adds what a file says, over what is there. An error leaves the table as it was: the file is
  // missing (kNotFound), broken or of another device or format.
  Status Read(const std::string& path, const std::string& device);
  // The folder is made where it is missing; readers see the old file or the new one.
  Status Write(const std::string& path, const std::string& device) const;

 private:
  std::map<GemmKey, std::map<std::int64_t, GemmChoice>> choices_;
};

// $XDG_CACHE_HOME/quire/gemm or ~/.cache/quire/gemm; empty where there is no home.
std::string GemmCacheFolder();
// The name of a device's file: "NVIDIA-H200-130001.json", without a library version
// "NVIDIA-H200.json".
std::string GemmTableFile(const std::string& device, unsigned long library_version);

}  // namespace quire::cuda
