// StepProfile: what host and device did in some steps of an engine, as plain data.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "backend/profile.h"

namespace quire {

// What the engine's thread is at. kIdle: there is nothing to do.
enum class HostPhase : std::uint8_t { kIdle, kPlan, kLaunch, kWait, kTakeIn };
constexpr int kNumHostPhases = 5;
const char* Name(HostPhase phase);

struct ProfiledStep {
  std::int64_t number = 0;  // 0: the engine's first
  std::int32_t tokens = 0, sequences = 0;
  std::int64_t launch_begin_ns = 0, launch_end_ns = 0;  // on the host
};

struct HostSpan {
  HostPhase phase = HostPhase::kIdle;
  std::int64_t step = 0;  // ProfiledStep::number; of kIdle the next one's
  std::int64_t begin_ns = 0, end_ns = 0;
};

// Spans, activities and calls are in the order of their begins; activity i is of the step
// steps[activity_steps[i]].
struct StepProfile {
  std::vector<ProfiledStep> steps;
  std::vector<HostSpan> spans;
  DeviceProfile device;
  std::vector<std::size_t> activity_steps;
  std::string device_name;
  // Median time from step to step on the device before anything was recorded, of steps with as many
  // tokens; 0: there were none.
  double unrecorded_step_us = 0;
};

// Which step launched each activity: an index into `steps`, −1 where none did. The device's calls
// during a step's launch tell.
std::vector<std::int64_t> StepsOf(const DeviceProfile& device, std::span<const ProfiledStep> steps);

// What belongs to the steps with first ≤ number < first + count, of all that was recorded around
// them.
StepProfile CutProfile(std::span<const ProfiledStep> steps, std::vector<HostSpan> spans,
                       const DeviceProfile& device, std::int64_t first, std::int64_t count);

// A kernel's name without return type, parameters and our namespaces, at most `max_bytes` long.
std::string ShortKernelName(std::string_view name, std::size_t max_bytes);

// Short names, all different: where two are the same the second one gets " #2" behind it.
std::vector<std::string> ShortNames(std::span<const std::string> names);

}  // namespace quire
