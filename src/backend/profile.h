// Plain records of what a device did, for the per-step profile (runtime/step_profile.h).
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace quire {

enum class DeviceWork : std::uint8_t { kKernel, kCopy, kFill };

enum class CopyDirection : std::uint8_t {
  kHostToDevice,
  kDeviceToHost,
  kDeviceToDevice,
  kHostToHost,
  kPeerToPeer,
};

// One kernel, copy or fill as the device ran it. Times are nanoseconds of the steady clock.
struct DeviceActivity {
  DeviceWork work = DeviceWork::kKernel;
  CopyDirection direction = CopyDirection::kHostToDevice;  // of a copy
  bool pageable = false;                                   // a copy from or to such host memory
  bool replayed = false;                                   // launched by a graph
  std::int64_t begin_ns = 0, end_ns = 0;
  std::uint32_t name = 0;  // into DeviceProfile::names, of a kernel
  std::uint32_t stream = 0;
  std::uint32_t call = 0;   // DeviceCall::id of what launched it
  std::uint64_t bytes = 0;  // of a copy or fill
  std::array<std::int32_t, 3> grid{}, block{};
  std::uint32_t registers = 0, shared_bytes = 0;  // of a thread, of a block
};

// One call of the host into the device's library. Ids grow in the order of the calls.
struct DeviceCall {
  std::uint32_t id = 0;
  std::uint32_t name = 0;  // into DeviceProfile::names
  std::uint32_t thread = 0;
  std::int64_t begin_ns = 0, end_ns = 0;
};

struct DeviceProfile {
  std::vector<std::string> names;  // of kernels, readable and whole, and of calls
  std::vector<DeviceActivity> activities;
  std::vector<DeviceCall> calls;
  std::uint64_t num_lost = 0;  // records that were not kept, or had no times
};

}  // namespace quire
