#include "weights/safetensors.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <tuple>
#include <utility>

#include "base/json.h"

namespace quire {
namespace {

constexpr std::uint64_t kLengthBytes = 8;
constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;  // the reference implementation's limit
constexpr std::size_t kMaxNameShown = 200;
constexpr const char* kMetadata = "__metadata__";

struct StoredType {
  std::string_view name;
  std::uint64_t bytes;
};
constexpr std::array<StoredType, 15> kStoredTypes = {{{"BOOL", 1},
                                                      {"U8", 1},
                                                      {"I8", 1},
                                                      {"F8_E4M3", 1},
                                                      {"F8_E5M2", 1},
                                                      {"I16", 2},
                                                      {"U16", 2},
                                                      {"F16", 2},
                                                      {"BF16", 2},
                                                      {"I32", 4},
                                                      {"U32", 4},
                                                      {"F32", 4},
                                                      {"F64", 8},
                                                      {"I64", 8},
                                                      {"U64", 8}}};

// Checks one header; owns the words that its errors begin with.
class HeaderParser {
 public:
  HeaderParser(std::uint64_t data_bytes, const std::string& file_name)
      : data_bytes_(data_bytes), file_name_(file_name) {}

  Result<std::vector<SafetensorsEntry>> Parse(const Json& header) const {
    std::vector<SafetensorsEntry> entries;
    entries.reserve(header.size());
    for (const auto& item : header.items()) {
      if (item.key() == kMetadata) {
        QUIRE_RETURN_IF_ERROR(CheckMetadata(item.value()));
        continue;
      }
      auto entry = ParseEntry(item.key(), item.value());
      if (!entry) return entry.error();
      entries.push_back(std::move(entry).value());
    }
    QUIRE_RETURN_IF_ERROR(CheckLayout(entries));
    return entries;
  }

 private:
  Error Fault(const std::string& what) const {
    return ModelFault(file_name_ + ": header: " + what);
  }
  Error Fault(const std::string& tensor, const std::string& what) const {
    return Fault("tensor " + tensor.substr(0, kMaxNameShown) + ": " + what);
  }

  Status CheckMetadata(const Json& metadata) const {
    if (!metadata.is_object()) return Fault("__metadata__ is not an object");
    for (const auto& item : metadata.items())
      if (!item.value().is_string()) return Fault("__metadata__ holds a value that is no string");
    return {};
  }

  Result<SafetensorsEntry> ParseEntry(const std::string& name, const Json& facts) const {
    if (!facts.is_object()) return Fault(name, "is not described by an object");
    SafetensorsEntry entry;
    entry.name = name;
    const auto dtype = facts.find("dtype");
    const auto shape = facts.find("shape");
    const auto offsets = facts.find("data_offsets");
    if (dtype == facts.end() || shape == facts.end() || offsets == facts.end() || facts.size() != 3)
      return Fault(name, "needs dtype, shape and data_offsets, and nothing else");
    if (!dtype->is_string()) return Fault(name, "dtype is not a string");
    entry.dtype = dtype->get_ref<const std::string&>();
    const auto type = std::find_if(kStoredTypes.begin(), kStoredTypes.end(),
                                   [&](const StoredType& t) { return t.name == entry.dtype; });
    if (type == kStoredTypes.end())
      return Fault(name, "dtype " + entry.dtype.substr(0, kMaxNameShown) + " is unknown");
    auto bytes = ParseShape(name, *shape, type->bytes, entry.shape);
    if (!bytes) return bytes.error();
    QUIRE_RETURN_IF_ERROR(ParseOffsets(name, *offsets, *bytes, entry));
    return entry;
  }

  // → bytes that a tensor of the shape needs.
  Result<std::uint64_t> ParseShape(const std::string& name, const Json& shape,
                                   std::uint64_t element_bytes,
                                   std::vector<std::int64_t>& dims) const {
    if (!shape.is_array()) return Fault(name, "shape is not a list");
    std::uint64_t bytes = element_bytes;
    for (const Json& side : shape) {
      if (!side.is_number_unsigned() || side.get<std::uint64_t>() > INT64_MAX)
        return Fault(name, "shape holds something that is no size");
      const auto size = side.get<std::uint64_t>();
      if (__builtin_mul_overflow(bytes, size, &bytes))
        return Fault(name, "shape " + WriteJson(shape).substr(0, kMaxNameShown) +
                               " is too large for 64 bits");
      dims.push_back(static_cast<std::int64_t>(size));
    }
    return bytes;
  }

  Status ParseOffsets(const std::string& name, const Json& offsets, std::uint64_t bytes,
                      SafetensorsEntry& entry) const {
    if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() ||
        !offsets[1].is_number_unsigned())
      return Fault(name, "data_offsets is not [begin, end]");
    entry.begin = offsets[0].get<std::uint64_t>();
    entry.end = offsets[1].get<std::uint64_t>();
    if (entry.begin > entry.end) return Fault(name, "data_offsets begin after their end");
    if (entry.end > data_bytes_) {
      return Fault(name, "its data ends at byte " + std::to_string(entry.end) +
                             " of a data section of " + std::to_string(data_bytes_) +
                             " bytes: is the file cut off?");
    }
    if (entry.end - entry.begin != bytes) {
      return Fault(name, "data_offsets span " + std::to_string(entry.end - entry.begin) +
                             " bytes, its shape needs " + std::to_string(bytes));
    }
    return {};
  }

  // The data of the tensors must fill the data section: no overlap, no gap, nothing behind.
  Status CheckLayout(std::vector<SafetensorsEntry>& entries) const {
    std::sort(entries.begin(), entries.end(),
              [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
                return std::tie(a.begin, a.end) < std::tie(b.begin, b.end);
              });
    std::uint64_t at = 0;
    for (const SafetensorsEntry& entry : entries) {
      if (entry.begin < at) return Fault(entry.name, "its data overlaps another tensor's");
      if (entry.begin > at) return Fault(entry.name, "there is a gap before its data");
      at = entry.end;
    }
    if (at != data_bytes_)
      return Fault(std::to_string(data_bytes_ - at) + " bytes behind the last tensor");
    return {};
  }

  std::uint64_t data_bytes_;
  const std::string& file_name_;
};

}  // namespace

Result<SafetensorsHeader> ParseSafetensorsHeader(std::string_view bytes, std::uint64_t file_size,
                                                 const std::string& file_name) {
  if (file_size < kLengthBytes || bytes.size() < kLengthBytes) {
    return ModelFault(file_name + ": header: the file has " + std::to_string(file_size) +
                      " bytes, too few for a safetensors file");
  }
  std::uint64_t length = 0;
  for (std::size_t i = 0; i < kLengthBytes; ++i)
    length |= static_cast<std::uint64_t>(static_cast<unsigned char>(bytes[i])) << (8 * i);
  if (length > kMaxHeaderBytes) {
    return ModelFault(file_name + ": header: its length of " + std::to_string(length) +
                      " bytes is more than the format's 100000000");
  }
  if (length > file_size - kLengthBytes || length > bytes.size() - kLengthBytes) {
    return ModelFault(file_name + ": header: its length of " + std::to_string(length) +
                      " bytes is more than the file holds");
  }
  JsonLimits limits;
  limits.max_depth = 4;
  auto header = ParseJson(bytes.substr(kLengthBytes, length), limits);
  if (!header) return ModelFault(file_name + ": header: " + header.error().message);
  if (!header->is_object()) return ModelFault(file_name + ": header: not a JSON object");
  SafetensorsHeader result;
  result.data_start = kLengthBytes + length;
  auto entries = HeaderParser(file_size - result.data_start, file_name).Parse(*header);
  if (!entries) return entries.error();
  result.tensors = std::move(entries).value();
  return result;
}

std::optional<DType> ToDType(std::string_view safetensors_dtype) {
  if (safetensors_dtype == "F32") return DType::kF32;
  if (safetensors_dtype == "BF16") return DType::kBF16;
  if (safetensors_dtype == "F16") return DType::kF16;
  return std::nullopt;
}

std::string ShapeText(const std::int64_t* dims, std::size_t rank) {
  std::string text = "[";
  for (std::size_t i = 0; i < rank; ++i) text += (i == 0 ? "" : ", ") + std::to_string(dims[i]);
  return text + "]";
}

}  // namespace quire
