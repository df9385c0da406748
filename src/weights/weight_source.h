// Named tensors of a checkpoint, or random ones of the same names.
#pragma once

#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "tensor/tensor.h"

namespace quire {

// Thrown by module constructors (construct = load, rule 1): the message names the file and the
// tensor. Caught once, where the runtime builds the model, and turned into an Error of kind kModel.
class LoadError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Where tensors come from. Views stay valid as long as the store lives.
class TensorStore {
 public:
  virtual ~TensorStore() = default;
  virtual bool Has(const std::string& name) const = 0;
  // Host memory of the stored dtype. Throws LoadError where it is missing or its shape is another.
  virtual Tensor Get(const std::string& name, std::initializer_list<std::int64_t> shape) const = 0;
  virtual std::size_t num_bytes()
      const = 0;  // of all tensors, for the progress bar and the summary
  // Tensors that no module asked for (after loading): worth a warning.
  virtual std::vector<std::string> Unused() const = 0;
};

// Maps the safetensors files of a folder: model.safetensors, or the shards that
// model.safetensors.index.json names. Everything in the headers is checked (bounds, overlaps,
// overflow, duplicates, paths) before a byte of data is read. Errors are of kind kModel and name
// file and tensor. Format: https://github.com/huggingface/safetensors (README, "Format").
Result<std::shared_ptr<const TensorStore>> OpenSafetensors(const std::filesystem::path& folder);

// Random weights: each tensor a function of (seed, name): matrices normal with deviation
// 1/sqrt(columns), names ending in "norm.weight" ones, biases zero. Any shape that is asked for
// exists.
std::shared_ptr<const TensorStore> MakeDummyStore(std::uint64_t seed, DType dtype);

// A scope in a store: w / "model" / "layers" / 3 / "mlp". Cheap to copy.
class WeightSource {
 public:
  explicit WeightSource(std::shared_ptr<const TensorStore> store, std::string prefix = "")
      : store_(std::move(store)), prefix_(std::move(prefix)) {}

  WeightSource operator/(std::string_view name) const;
  WeightSource operator/(int index) const { return *this / std::to_string(index); }
  bool Has(std::string_view name) const { return store_->Has(Full(name)); }
  Tensor Get(std::string_view name, std::initializer_list<std::int64_t> shape) const {
    return store_->Get(Full(name), shape);
  }
  const std::shared_ptr<const TensorStore>& store() const { return store_; }

 private:
  std::string Full(std::string_view name) const;

  std::shared_ptr<const TensorStore> store_;
  std::string prefix_;
};

}  // namespace quire
