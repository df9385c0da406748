// Which steps are profiled, and where the trace goes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>

namespace quire {

struct ProfileSummary;

struct ProfileOptions {
  static constexpr std::int32_t kMaxSteps = 1000;
  static constexpr std::int32_t kLastFirstStep = 1 << 30;

  std::int32_t num_steps = 0;    // 0: no profile
  std::int32_t first_step = 32;  // so many steps run before
  std::filesystem::path file;    // empty: quire-profile-PID.json in the working directory
  // What becomes of the summary, on the engine's thread; where there is none it is logged.
  std::function<void(const ProfileSummary&)> on_done;
};

}  // namespace quire
