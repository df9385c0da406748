// The few functions of NVML that we use, by their C ABI; the library is opened at run time.
#pragma once

#include <functional>
#include <memory>
#include <utility>

#include "base/result.h"

namespace quire {

using NvmlDevice = void*;

inline constexpr int kNvmlSuccess = 0;
inline constexpr int kNvmlFunctionNotFound = 13;
inline constexpr unsigned kNvmlNameBytes = 96;  // more than any version of NVML asks for
inline constexpr unsigned kNvmlMaxLinks = 36;
inline constexpr unsigned kNvmlFieldLinkSpeedCommon = 90;  // MB/s of the active NVLinks
inline constexpr unsigned kNvmlFieldLinkSpeed = 164;       // MB/s of the NVLink in scope_id

// nvmlPciInfo_t as of version 3 of its functions.
struct NvmlPciInfo {
  char bus_id_legacy[16] = {};
  unsigned domain = 0, bus = 0, device = 0;
  unsigned pci_device_id = 0, pci_subsystem_id = 0;
  char bus_id[32] = {};
};
static_assert(sizeof(NvmlPciInfo) == 68);

struct NvmlMemory {
  unsigned long long total = 0, free = 0, used = 0;
};

union NvmlValue {
  double real;
  unsigned uint32;
  unsigned long long uint64;
};

struct NvmlFieldValue {
  unsigned field_id = 0, scope_id = 0;
  long long timestamp = 0, latency_us = 0;
  int value_type = 0;  // 0: real, 1: uint32, 2 and 3: uint64
  int result = 0;
  NvmlValue value = {};
};
static_assert(sizeof(NvmlFieldValue) == 40);

// NVML as a table of functions, each of which may be missing. C enums are ints here.
struct NvmlApi {
  std::shared_ptr<void> library;  // keeps it loaded

  std::function<int()> init, shutdown;
  std::function<const char*(int result)> error_string;
  std::function<int(char* version, unsigned length)> driver_version;
  std::function<int(unsigned* count)> device_count;
  std::function<int(unsigned index, NvmlDevice* device)> device_by_index;

  std::function<int(NvmlDevice, char*text, unsigned length)> name, uuid;
  std::function<int(NvmlDevice, NvmlPciInfo*)> pci_info;
  std::function<int(NvmlDevice, int* major, int* minor)> compute_capability;
  std::function<int(NvmlDevice, NvmlMemory*)> memory_info;
  std::function<int(NvmlDevice, unsigned*)> pcie_generation, pcie_width;
  std::function<int(NvmlDevice, unsigned*)> pcie_max_generation, pcie_max_width;
  std::function<int(NvmlDevice, unsigned words, unsigned long* cpus)> cpu_affinity;
  std::function<int(NvmlDevice, unsigned* current, unsigned* pending)> mig_mode;
  std::function<int(NvmlDevice, unsigned*milliwatts)> power_usage, power_limit;
  std::function<int(NvmlDevice, unsigned long long* millijoules)> total_energy;

  std::function<int(NvmlDevice, unsigned link, unsigned* active)> nvlink_state;
  std::function<int(NvmlDevice, unsigned link, unsigned* version)> nvlink_version;
  std::function<int(NvmlDevice, unsigned link, NvmlPciInfo*)> nvlink_remote_pci;
  std::function<int(NvmlDevice, unsigned link, int* type)> nvlink_remote_type;
  std::function<int(NvmlDevice, int count, NvmlFieldValue*)> field_values;

  std::function<int(NvmlDevice, NvmlDevice, int* level)> common_ancestor;
  std::function<int(NvmlDevice, NvmlDevice, int capability, int* status)> p2p_status;
};

// kDevice error where libnvidia-ml.so.1 is not there.
Result<NvmlApi> LoadNvmlApi();

// Calls a function of the table, or returns kNvmlFunctionNotFound.
template <class Function, class... Args>
int NvmlCall(const Function& function, Args&&... args) {
  return function ? function(std::forward<Args>(args)...) : kNvmlFunctionNotFound;
}

// Owns an initialised NVML.
class NvmlSession {
 public:
  // kDevice error with NVML's reason.
  static Result<std::unique_ptr<NvmlSession>> Open(NvmlApi api);
  ~NvmlSession() { NvmlCall(api_.shutdown); }
  NvmlSession(const NvmlSession&) = delete;
  NvmlSession& operator=(const NvmlSession&) = delete;

  const NvmlApi& api() const { return api_; }

 private:
  explicit NvmlSession(NvmlApi api) : api_(std::move(api)) {}

  NvmlApi api_;
};

// "Driver Not Loaded", or "error 9".
std::string NvmlErrorText(const NvmlApi& api, int result);

}  // namespace quire
