// The TensorStore over one safetensors file or over the shards of an index.
#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <unordered_map>
#include <utility>

#include "base/json.h"
#include "weights/mapped_file.h"
#include "weights/model_folder.h"
#include "weights/safetensors.h"
#include "weights/weight_source.h"

namespace quire {
namespace {

constexpr const char* kSingleFile = "model.safetensors";
constexpr const char* kIndexFile = "model.safetensors.index.json";
constexpr std::size_t kMaxNameShown = 200;

struct Shard {
  std::string file_name;
  MappedFile file;
  SafetensorsHeader header;
};

// Owns the mapped files and which tensor lies where in them.
class SafetensorsStore final : public TensorStore {
 public:
  explicit SafetensorsStore(std::string root_file) : root_file_(std::move(root_file)) {}

  Status AddShard(const std::filesystem::path& path);

  bool Has(const std::string& name) const override { return tensors_.count(name) != 0; }
  bool HasIn(const std::string& name, const std::string& file_name) const {
    const auto found = tensors_.find(name);
    return found != tensors_.end() && found->second.shard->file_name == file_name;
  }
  Tensor Get(const std::string& name, std::initializer_list<std::int64_t> shape) const override;
  std::size_t num_bytes() const override { return num_bytes_; }
  std::vector<std::string> Unused() const override;

 private:
  struct Place {
    const Shard* shard = nullptr;
    const SafetensorsEntry* entry = nullptr;
    mutable bool used = false;
  };

  const char* Aligned(const Place& place, std::size_t alignment) const;

  std::string root_file_;
  std::vector<std::unique_ptr<Shard>> shards_;
  std::unordered_map<std::string, Place> tensors_;
  std::size_t num_bytes_ = 0;
  mutable std::mutex
      mutex_;  // the ranks of one process build at the same time; guards used, copies_
  mutable std::unordered_map<const SafetensorsEntry*, std::vector<std::uint64_t>> copies_;
};

Status SafetensorsStore::AddShard(const std::filesystem::path& path) {
  auto file = MappedFile::Open(path);
  if (!file) return file.error();
  const std::string file_name = path.filename().string();
  const std::string_view bytes = file->bytes();
  auto header = ParseSafetensorsHeader(bytes, bytes.size(), file_name);
  if (!header) return header.error();
  shards_.push_back(std::make_unique<Shard>(
      Shard{file_name, std::move(file).value(), std::move(header).value()}));
  const Shard& shard = *shards_.back();
  num_bytes_ += bytes.size() - shard.header.data_start;
  for (const SafetensorsEntry& entry : shard.header.tensors) {
    const auto [place, inserted] = tensors_.emplace(entry.name, Place{&shard, &entry});
    if (!inserted) {
      return ModelFault(fmt::format("{}: tensor {} is in {} too", file_name,
                                    entry.name.substr(0, kMaxNameShown),
                                    place->second.shard->file_name));
    }
  }
  return {};
}

Tensor SafetensorsStore::Get(const std::string& name,
                             std::initializer_list<std::int64_t> shape) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end())
    throw LoadError(fmt::format("{}: tensor {} is missing", root_file_, name));
  const Place& place = found->second;
  const SafetensorsEntry& entry = *place.entry;
  if (!std::equal(shape.begin(), shape.end(), entry.shape.begin(), entry.shape.end())) {
    throw LoadError(fmt::format("{}: tensor {} has the shape {}, by config.json it must be {}",
                                place.shard->file_name, name,
                                ShapeText(entry.shape.data(), entry.shape.size()),
                                ShapeText(shape.begin(), shape.size())));
  }
  const std::optional<DType> dtype = ToDType(entry.dtype);
  if (!dtype) {
    throw LoadError(
        fmt::format("{}: tensor {} has the dtype {}, only F32, BF16 and F16 are supported",
                    place.shard->file_name, name, entry.dtype));
  }
  const char* data = Aligned(place, SizeOf(*dtype));
  // A Tensor is a view without constness; nobody writes to weights, and these pages would not allow
  // it.
  return Tensor(const_cast<char*>(data), *dtype, shape);
}

// The format does not promise that data is aligned; what is not, is copied once.
const char* SafetensorsStore::Aligned(const Place& place, std::size_t alignment) const {
  const SafetensorsEntry& entry = *place.entry;
  const char* data =
      place.shard->file.bytes().data() + place.shard->header.data_start + entry.begin;
  const std::lock_guard lock(mutex_);
  place.used = true;
  if (reinterpret_cast<std::uintptr_t>(data) % alignment == 0) return data;
  std::vector<std::uint64_t>& copy = copies_[&entry];
  const std::size_t bytes = entry.end - entry.begin;
  if (copy.empty() && bytes != 0) {
    copy.resize(bytes / sizeof(std::uint64_t) + 1);
    std::memcpy(copy.data(), data, bytes);
  }
  return reinterpret_cast<const char*>(copy.data());
}

std::vector<std::string> SafetensorsStore::Unused() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> names;
  for (const auto& [name, place] : tensors_)
    if (!place.used) names.push_back(name);
  std::sort(names.begin(), names.end());
  return names;
}

Error IndexFault(const std::string& what) {
  return ModelFault(std::string(kIndexFile) + ": " + what);
}

// Shards are plain names of files beside the index: no other folder can be reached.
bool IsPlainFileName(const std::string& name) {
  return !name.empty() && name != "." && name != ".." &&
         name.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos &&
         name.find("..") == std::string::npos;
}

Result<std::map<std::string, std::string>> ReadWeightMap(const std::filesystem::path& folder) {
  auto index = ReadJsonFile(folder / kIndexFile);
  if (!index) return index.error();
  const auto found = index->find("weight_map");
  if (found == index->end() || !found->is_object() || found->empty())
    return IndexFault("weight_map must be an object that names the file of each tensor");
  std::map<std::string, std::string> weight_map;
  for (const auto& item : found->items()) {
    const std::string tensor = item.key().substr(0, kMaxNameShown);
    if (!item.value().is_string())
      return IndexFault("weight_map: the file of tensor " + tensor + " is not a string");
    const auto& file = item.value().get_ref<const std::string&>();
    if (!IsPlainFileName(file)) {
      return IndexFault("weight_map: tensor " + tensor + ": " + WriteJson(item.value()) +
                        " is not the plain name of a file in the folder");
    }
    weight_map[item.key()] = file;
  }
  return weight_map;
}

Result<std::shared_ptr<const TensorStore>> OpenIndexed(const std::filesystem::path& folder) {
  auto weight_map = ReadWeightMap(folder);
  if (!weight_map) return weight_map.error();
  std::vector<std::string> files;
  for (const auto& [tensor, file] : *weight_map) files.push_back(file);
  std::sort(files.begin(), files.end());
  files.erase(std::unique(files.begin(), files.end()), files.end());
  auto store = std::make_shared<SafetensorsStore>(kIndexFile);
  for (const std::string& file : files) {
    if (!EntryExists(folder / file))
      return IndexFault("weight_map names " + file + ", which is not in the folder");
    QUIRE_RETURN_IF_ERROR(store->AddShard(folder / file));
  }
  for (const auto& [tensor, file] : *weight_map) {
    if (!store->HasIn(tensor, file))
      return IndexFault("weight_map: tensor " + tensor.substr(0, kMaxNameShown) + " is not in " +
                        file);
  }
  return std::shared_ptr<const TensorStore>(std::move(store));
}

}  // namespace

Result<std::shared_ptr<const TensorStore>> OpenSafetensors(const std::filesystem::path& folder) {
  if (EntryExists(folder / kSingleFile)) {
    auto store = std::make_shared<SafetensorsStore>(kSingleFile);
    QUIRE_RETURN_IF_ERROR(store->AddShard(folder / kSingleFile));
    return std::shared_ptr<const TensorStore>(std::move(store));
  }
  if (EntryExists(folder / kIndexFile)) return OpenIndexed(folder);
  return ModelFault(fmt::format("{} holds neither {} nor {}; other formats of weights are not read",
                                folder.string(), kSingleFile, kIndexFile));
}

}  // namespace quire
