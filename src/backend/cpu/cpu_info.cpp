#include "backend/cpu/cpu_info.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <fstream>
#include <limits>
#include <optional>
#include <sstream>
#include <string>
#include <thread>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#endif

namespace quire::cpu {
namespace {

#if defined(__x86_64__)
bool HasAvx2() {
  constexpr unsigned kF16C = 1U << 29;  // clang 14's __builtin_cpu_supports does not know it
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & kF16C) == 0) return false;
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

bool HasAvx512() {
  return HasAvx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

bool HasAvx512Bf16() { return HasAvx512() && __builtin_cpu_supports("avx512bf16"); }

// Linux lends the tile registers on request, once for the whole process.
bool HasAmx() {
  constexpr unsigned kAmxBf16 = 1U << 22;
  constexpr unsigned kAmxTile = 1U << 24;
  constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr long kTileData = 18;
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!HasAvx512Bf16() || __get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
  if ((d & kAmxBf16) == 0 || (d & kAmxTile) == 0) return false;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}
#endif

std::optional<std::string> ReadLine(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line)) return std::nullopt;
  return line;
}

std::optional<double> ReadNumber(const std::string& path) {
  const std::optional<std::string> line = ReadLine(path);
  if (!line) return std::nullopt;
  std::istringstream text(*line);
  double value = 0;
  if (!(text >> value)) return std::nullopt;  // "max" among others
  return value;
}

// The folders of the control groups that hold this process, from its own up to the root, for a
// controller: the unified hierarchy, and version 1's where it is mounted.
std::vector<std::string> GroupFolders(std::string_view controller) {
  std::vector<std::string> folders;
  std::ifstream file("/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string names = ',' + line.substr(first + 1, second - first - 1) + ',';
    std::string root = "/sys/fs/cgroup";
    if (names != ",,") {
      if (names.find(',' + std::string(controller) + ',') == std::string::npos) continue;
      root += '/' + line.substr(first + 1, second - first - 1);
    }
    std::string path = line.substr(second + 1);
    while (!path.empty() && path != "/") {
      folders.push_back(root + path);
      path.resize(path.rfind('/'));
    }
    folders.push_back(root);
  }
  return folders;
}

// Cores' worth of time that the control groups allow.
double CpuQuota() {
  double quota = std::numeric_limits<double>::infinity();
  for (const std::string& folder : GroupFolders("cpu")) {
    double allowed = 0;
    double period = 0;
    if (std::istringstream text(ReadLine(folder + "/cpu.max").value_or(""));
        text >> allowed >> period) {
      if (period > 0) quota = std::min(quota, allowed / period);
    }
    const std::optional<double> limit = ReadNumber(folder + "/cpu.cfs_quota_us");
    const std::optional<double> window = ReadNumber(folder + "/cpu.cfs_period_us");
    if (limit && window && *limit > 0 && *window > 0) quota = std::min(quota, *limit / *window);
  }
  return quota;
}

// A "name value" or "name: value" line of a file, 0 where there is none.
double ReadField(const std::string& path, const std::string& name) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    std::istringstream text(line);
    std::string key;
    double value = 0;
    if (text >> key >> value && key == name) return value;
  }
  return 0;
}

void ApplyGroupLimits(MemoryInfo& memory) {
  struct Names {
    const char* limit;
    const char* used;
    const char* cache;
  };
  constexpr std::array<Names, 2> kVersions{
      {{"/memory.max", "/memory.current", "inactive_file"},
       {"/memory.limit_in_bytes", "/memory.usage_in_bytes", "total_inactive_file"}}};
  for (const std::string& folder : GroupFolders("memory")) {
    for (const Names& names : kVersions) {
      const std::optional<double> limit = ReadNumber(folder + names.limit);
      const std::optional<double> used = ReadNumber(folder + names.used);
      if (!limit || !used || *limit >= static_cast<double>(memory.total)) continue;
      const double cache = ReadField(folder + "/memory.stat", names.cache);  // given up on demand
      const double left = std::max(0.0, *limit - std::max(0.0, *used - cache));
      memory.total = static_cast<std::size_t>(*limit);
      memory.available = std::min(memory.available, static_cast<std::size_t>(left));
    }
  }
}

}  // namespace

std::vector<const CpuKernels*> UsableKernels() {
  std::vector<const CpuKernels*> usable{&kPortableKernels};
#if defined(__x86_64__)
  if (HasAvx2()) usable.push_back(&kAvx2Kernels);
  if (HasAvx512()) usable.push_back(&kAvx512Kernels);
  if (HasAvx512Bf16()) usable.push_back(&kAvx512Bf16Kernels);
  if (HasAmx()) usable.push_back(&kAmxKernels);
#endif
  return usable;
}

bool IsInstructionSet(std::string_view name) {
  constexpr std::array<std::string_view, 5> kNames{"portable", "avx2", "avx512", "avx512bf16",
                                                   "amx"};
  return std::find(kNames.begin(), kNames.end(), name) != kNames.end();
}

int UsableCores() {
  int cores = static_cast<int>(std::thread::hardware_concurrency());
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) cores = CPU_COUNT(&set);
  const double quota = CpuQuota();
  if (quota < cores) cores = static_cast<int>(quota + 0.5);
  return std::max(cores, 1);
}

MemoryInfo UsableMemory() {
  MemoryInfo memory;
  const auto pages = static_cast<std::size_t>(std::max(0L, sysconf(_SC_PHYS_PAGES)));
  memory.total = pages * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  const double available = ReadField("/proc/meminfo", "MemAvailable:") * 1024;
  memory.available = available > 0 ? static_cast<std::size_t>(available) : memory.total;
  ApplyGroupLimits(memory);
  return memory;
}

}  // namespace quire::cpu
