#include "backend/cpu/memory.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <new>

#include "backend/cpu/cpu_info.h"

namespace quire::cpu {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;
constexpr std::size_t kAskFirst = std::size_t{64}
                                  << 20;  // smaller pieces are not checked against free memory
constexpr double kGiB = 1024.0 * 1024.0 * 1024.0;

Error Short(std::size_t bytes) {
  const double have = static_cast<double>(UsableMemory().available) / kGiB;
  return {ErrorKind::kDevice,
          fmt::format("not enough memory: {:.2f} GiB needed, {:.2f} GiB free",
                      static_cast<double>(bytes) / kGiB, have),
          "", ""};
}

}  // namespace

Result<Buffer> AllocateHost(std::size_t bytes) {
  const std::size_t unit = bytes >= kHugePage ? kHugePage : 4096;
  if (bytes > SIZE_MAX - 2 * kHugePage) return Short(bytes);
  const std::size_t size = std::max(unit, (bytes + unit - 1) / unit * unit);
  if (size >= kAskFirst && size > UsableMemory().available) return Short(bytes);
  // One huge page more, so that the part we keep can begin at a multiple of it.
  const std::size_t slack = unit == kHugePage ? kHugePage : 0;
  void* mapped =
      mmap(nullptr, size + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return Short(bytes);
  char* begin = static_cast<char*>(mapped);
  if (slack != 0) {
    const std::size_t skip = (slack - reinterpret_cast<std::uintptr_t>(begin) % slack) % slack;
    if (skip != 0) munmap(begin, skip);
    if (skip != slack) munmap(begin + skip + size, slack - skip);
    begin += skip;
    madvise(begin, size, MADV_HUGEPAGE);  // advice: may fail
  }
  return Buffer(begin, size, {}, [](void* data, std::size_t length) { munmap(data, length); });
}

void* Scratch::Get(std::size_t bytes) {
  if (bytes > buffer_.bytes()) {
    Result<Buffer> larger = AllocateHost(std::max(bytes, buffer_.bytes() * 3 / 2));
    if (!larger.ok()) throw std::bad_alloc();
    buffer_ = std::move(*larger);
  }
  return buffer_.data();
}

}  // namespace quire::cpu
