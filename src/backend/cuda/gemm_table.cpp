#include "backend/cuda/gemm_table.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <system_error>
#include <utility>
#include <vector>

#include "base/json.h"

namespace quire::cuda {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFormat = "quire-gemm-table-1";
constexpr std::int64_t kFine = 512;     // rows up to which buckets are 16 apart
constexpr std::int64_t kCoarse = 1024;  // the first power of two behind
constexpr std::int64_t kMostRows = std::int64_t{1} << 24;
constexpr std::array kDTypes = {DType::kF32, DType::kBF16, DType::kF16};

Error Unreadable(const std::string& path, const std::string& why) {
  return {ErrorKind::kDevice, fmt::format("{} {}", path, why), "", ""};
}

bool ParseDType(const Json& value, DType* dtype) {
  if (!value.is_string()) return false;
  const auto& name = value.get_ref<const std::string&>();
  const auto* const found =
      std::find_if(kDTypes.begin(), kDTypes.end(), [&](DType d) { return name == Name(d); });
  if (found == kDTypes.end()) return false;
  *dtype = *found;
  return true;
}

bool ParseSize(const Json& object, const char* name, std::int64_t* size) {
  const auto found = object.find(name);
  if (found == object.end() || !found->is_number_integer()) return false;
  *size = found->get<std::int64_t>();
  return *size > 0;
}

bool ParseKey(const Json& product, GemmKey* key) {
  return product.is_object() && ParseSize(product, "n", &key->n) &&
         ParseSize(product, "k", &key->k) && product.contains("dtype") &&
         ParseDType(product["dtype"], &key->dtype) && product.contains("out") &&
         ParseDType(product["out"], &key->out_dtype) && product.contains("bias") &&
         product["bias"].is_boolean() && product.contains("rows") && product["rows"].is_array();
}

// One of "rows": [first bucket, last bucket, kernel, microseconds at the last].
struct Entry {
  std::int64_t first = 0, last = 0;
  GemmChoice choice;
};

bool ParseEntry(const Json& json, Entry* entry) {
  if (!json.is_array() || json.size() != 4 || !json[0].is_number_integer() ||
      !json[1].is_number_integer() || !json[2].is_string() || !json[3].is_number()) {
    return false;
  }
  entry->first = json[0].get<std::int64_t>();
  entry->last = json[1].get<std::int64_t>();
  entry->choice.kernel = json[2].get<std::string>();
  entry->choice.microseconds = json[3].get<double>();
  return entry->first > 0 && entry->last >= entry->first && entry->last <= kMostRows &&
         GemmRowBucket(entry->first) == entry->first && GemmRowBucket(entry->last) == entry->last;
}

std::vector<Entry> EntriesOf(const std::map<std::int64_t, GemmChoice>& rows) {
  std::vector<Entry> entries;
  for (const auto& [bucket, choice] : rows) {
    if (!entries.empty() && entries.back().choice.kernel == choice.kernel &&
        GemmRowBucket(entries.back().last + 1) == bucket) {
      entries.back().last = bucket;
      entries.back().choice = choice;
    } else {
      entries.push_back({bucket, bucket, choice});
    }
  }
  return entries;
}

}  // namespace

std::int64_t GemmRowBucket(std::int64_t m) {
  if (m <= 2) return m;
  if (m <= 4) return 4;
  if (m <= 8) return 8;
  if (m <= kFine) return (m + 15) / 16 * 16;
  std::int64_t bucket = kCoarse;
  while (bucket < m) bucket *= 2;
  return bucket;
}

const GemmChoice* GemmTable::Find(const GemmKey& key, std::int64_t rows,
                                  std::int64_t* bucket) const {
  const auto product = choices_.find(key);
  if (product == choices_.end()) return nullptr;
  const auto& known = product->second;
  auto found = known.lower_bound(GemmRowBucket(rows));
  if (found == known.end()) {
    if (known.empty() || std::prev(found)->first < kCoarse) return nullptr;
    --found;  // many rows are alike
  }
  if (found->first > 2 * std::max<std::int64_t>(GemmRowBucket(rows), 8)) return nullptr;
  *bucket = found->first;
  return &found->second;
}

bool GemmTable::Has(const GemmKey& key, std::int64_t bucket) const {
  const auto product = choices_.find(key);
  return product != choices_.end() && product->second.contains(bucket);
}

void GemmTable::Set(const GemmKey& key, std::int64_t bucket, GemmChoice choice) {
  choices_[key][bucket] = std::move(choice);
}

void GemmTable::Remove(const GemmKey& key, std::int64_t bucket) {
  const auto product = choices_.find(key);
  if (product != choices_.end()) product->second.erase(bucket);
}

std::size_t GemmTable::size() const {
  std::size_t size = 0;
  for (const auto& [key, rows] : choices_) size += rows.size();
  return size;
}

Status GemmTable::Read(const std::string& path, const std::string& device) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return Error{ErrorKind::kNotFound, fmt::format("{} is not there", path), "", ""};
  std::ostringstream text;
  text << file.rdbuf();
  const auto parsed = ParseJson(text.str());
  if (!parsed) return Unreadable(path, "is no JSON");
  const Json& root = *parsed;
  if (!root.is_object() || !root.contains("format") || root["format"] != kFormat)
    return Unreadable(path, "is of another format");
  if (!root.contains("device") || root["device"] != device)
    return Unreadable(path, "is of another device");
  if (!root.contains("products") || !root["products"].is_array())
    return Unreadable(path, "has no products");
  std::map<GemmKey, std::map<std::int64_t, GemmChoice>> read;
  for (const Json& product : root["products"]) {
    GemmKey key;
    if (!ParseKey(product, &key)) return Unreadable(path, "has a product that is none");
    key.bias = product["bias"].get<bool>();
    for (const Json& json : product["rows"]) {
      Entry entry;
      if (!ParseEntry(json, &entry)) return Unreadable(path, "has a choice that is none");
      for (std::int64_t rows = entry.first; rows <= entry.last; rows = GemmRowBucket(rows + 1))
        read[key][rows] = entry.choice;
    }
  }
  for (auto& [key, rows] : read)
    for (auto& [bucket, choice] : rows) choices_[key][bucket] = std::move(choice);
  return {};
}

Status GemmTable::Write(const std::string& path, const std::string& device) const {
  // A product a line, so that files can be compared.
  std::string text = fmt::format("{{\"format\": \"{}\",\n\"device\": ", kFormat);
  AppendJsonString(text, device);
  text += ",\n\"products\": [";
  const char* separator = "\n";
  for (const auto& [key, rows] : choices_) {
    text +=
        fmt::format("{}{{\"n\": {}, \"k\": {}, \"dtype\": \"{}\", \"out\": \"{}\", \"bias\": {}",
                    separator, key.n, key.k, Name(key.dtype), Name(key.out_dtype), key.bias);
    text += ", \"rows\": [";
    const char* comma = "\n  ";
    for (const Entry& entry : EntriesOf(rows)) {
      text += fmt::format("{}[{}, {}, ", comma, entry.first, entry.last);
      AppendJsonString(text, entry.choice.kernel);
      text += fmt::format(", {:.2f}]", entry.choice.microseconds);
      comma = ",\n  ";
    }
    text += "]}";
    separator = ",\n";
  }
  text += "\n]}\n";

  std::error_code failed;
  fs::create_directories(fs::path(path).parent_path(), failed);
  const std::string beside = fmt::format("{}.{}", path, ::getpid());
  {
    std::ofstream file(beside, std::ios::binary | std::ios::trunc);
    file << text;
    file.flush();
    if (!file) {
      fs::remove(beside, failed);
      return Unreadable(path, "cannot be written");
    }
  }
  fs::rename(beside, path, failed);
  if (failed) {
    fs::remove(beside, failed);
    return Unreadable(path, "cannot be written");
  }
  return {};
}

std::string GemmCacheFolder() {
  const auto folder = [](const char* variable) -> std::string {
    const char* value = std::getenv(variable);
    return value == nullptr ? "" : value;
  };
  if (const std::string cache = folder("XDG_CACHE_HOME"); !cache.empty())
    return cache + "/quire/gemm";
  if (const std::string home = folder("HOME"); !home.empty()) return home + "/.cache/quire/gemm";
  return "";
}

std::string GemmTableFile(const std::string& device, unsigned long library_version) {
  std::string name = device;
  for (char& c : name) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
    if (!plain) c = '-';
  }
  if (library_version != 0) name += fmt::format("-{}", library_version);
  return name + ".json";
}

}  // namespace quire::cuda
