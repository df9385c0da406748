// A StepProfile in Chrome's trace format, for chrome://tracing and https://ui.perfetto.dev.
#pragma once

#include <string>

#include "runtime/step_profile.h"

namespace quire {

// One JSON object. Process 1 is the host: what the engine's thread is at, and the calls into the
// device's library. Process 2 is the device: the steps, the kernels and fills of each stream, and
// the copies of each direction with what they overlap with; arrows lead from a call to what it
// launched first. Things of one row never overlap: there are further rows for those that would.
std::string ChromeTrace(const StepProfile& profile);

}  // namespace quire
