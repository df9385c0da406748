#include "bench/page_cache.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <system_error>

namespace quire {
namespace {

constexpr std::int64_t kWindow = std::int64_t{1} << 30;  // mapped at a time

struct PageCount {
  std::int64_t all = 0;
  std::int64_t resident = 0;
};

PageCount CountPages(int fd, std::int64_t size) {
  const std::int64_t page = ::sysconf(_SC_PAGESIZE);
  PageCount count;
  std::vector<unsigned char> resident;
  for (std::int64_t offset = 0; offset < size; offset += kWindow) {
    const auto length = static_cast<std::size_t>(std::min(kWindow, size - offset));
    void* const at = ::mmap(nullptr, length, PROT_READ, MAP_SHARED, fd, offset);
    if (at == MAP_FAILED) return count;
    resident.assign((length + static_cast<std::size_t>(page) - 1) / static_cast<std::size_t>(page),
                    0);
    if (::mincore(at, length, resident.data()) == 0) {
      count.all += static_cast<std::int64_t>(resident.size());
      count.resident += std::count_if(resident.begin(), resident.end(),
                                      [](unsigned char state) { return (state & 1U) != 0; });
    }
    ::munmap(at, length);
  }
  return count;
}

}  // namespace

std::vector<std::filesystem::path> FilesOfFolder(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> files;
  std::error_code error;
  std::filesystem::directory_iterator entry(folder, error);
  for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    std::error_code ignored;
    if (entry->is_regular_file(ignored)) files.push_back(entry->path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

double DropFromPageCache(std::span<const std::filesystem::path> files) {
  PageCount total;
  for (const std::filesystem::path& file : files) {
    const int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) continue;
    struct stat info {};
    if (::fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && info.st_size > 0) {
      ::fdatasync(fd);  // pages that are not written yet stay
      ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
      const PageCount count = CountPages(fd, info.st_size);
      total.all += count.all;
      total.resident += count.resident;
    }
    ::close(fd);
  }
  return total.all > 0 ? static_cast<double>(total.resident) / static_cast<double>(total.all) : 0;
}

}  // namespace quire
