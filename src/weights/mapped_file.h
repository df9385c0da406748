// Files of a model folder: opened with care, mapped or read whole.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>

#include "base/result.h"

namespace quire {

// Owns a read-only mapping of a whole regular file.
class MappedFile {
 public:
  // kModel errors name the file: missing, not a regular file, a loop of links, no permission.
  static Result<MappedFile> Open(const std::filesystem::path& path);

  MappedFile(MappedFile&& other) noexcept { *this = std::move(other); }
  MappedFile& operator=(MappedFile&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  std::string_view bytes() const { return {static_cast<const char*>(data_), size_}; }

 private:
  MappedFile() = default;

  void* data_ = nullptr;  // null for an empty file, which cannot be mapped
  std::size_t size_ = 0;
};

// The whole text of a regular file of at most `limit` bytes. Errors as MappedFile::Open's.
Result<std::string> ReadSmallFile(const std::filesystem::path& path, std::size_t limit);

// Whether something of that name exists, be it a broken link: opening it then tells what is wrong.
bool EntryExists(const std::filesystem::path& path);

}  // namespace quire
