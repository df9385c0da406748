// ProfileSummary: what a StepProfile says about where the time of a step goes.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "base/json.h"
#include "runtime/step_profile.h"

namespace quire {

constexpr int kNumCopyDirections = 5;
const char* Name(CopyDirection direction);

// Times are microseconds. "A step" is the sum over all steps divided by their number.
struct ProfileSummary {
  struct LargestGap {
    double us = 0;
    std::int64_t step = 0;      // that ends it
    std::string before, after;  // what ran there
  };
  // All gaps between the same two kinds of work, a step.
  struct GapKind {
    std::string before, after;
    double count = 0, us = 0;
    double MeanUs() const { return count > 0 ? us / count : 0; }
  };
  // Of one direction, a step. Exposed: no kernel ran meanwhile.
  struct Copies {
    double count = 0, bytes = 0, us = 0, exposed_us = 0;
    double GbPerS() const { return us > 0 ? bytes / us * 1e-3 : 0; }
  };
  struct Kernel {
    std::string name;
    double count = 0;  // a step
    double us = 0;     // a step
    double MeanUs() const { return count > 0 ? us / count : 0; }
  };

  std::int64_t num_steps = 0, first_step = 0;
  double tokens = 0, sequences = 0;  // a step
  double step_us = 0;  // from the steps' first work on the device to their last, over their number;
                       // on the host where the device was not recorded
  double unrecorded_step_us = 0;  // before the recording began; 0: not known
  // The device, a step. Busy: a kernel, copy or fill runs; the rest of step_us are gaps.
  std::int64_t num_activities = 0;  // in all steps; 0: nothing was recorded
  double busy_us = 0, gap_us = 0, num_gaps = 0;
  double between_steps_us = 0;  // the part of the gaps whose ends belong to different steps
  LargestGap largest_gap;
  std::vector<GapKind> gap_kinds;  // all of them, the most time first
  std::array<Copies, kNumCopyDirections> copies;
  double fill_us = 0, num_fills = 0, exposed_copy_us = 0;  // exposed in any direction
  std::vector<Kernel> kernels;                             // all of them, the most time first
  double kernel_us = 0;  // their sum: more than the device's time where they overlap
  std::array<double, kNumHostPhases> host_us{};  // a step
  std::uint64_t num_lost = 0;
  std::string trace_file;  // where the trace was written; empty: it was not
};

ProfileSummary Summarize(const StepProfile& profile);

// Lines for people, each with its end; at most so many of the kernels and of the kinds of gaps.
std::string ToText(const ProfileSummary& summary, std::size_t max_kernels = 15,
                   std::size_t max_gaps = 6);

Json ToJson(const ProfileSummary& summary);

}  // namespace quire
