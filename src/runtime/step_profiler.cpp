#include "runtime/step_profiler.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "base/log.h"
#include "runtime/chrome_trace.h"
#include "runtime/profile_summary.h"

namespace quire {
namespace {

// Recorded and not kept: the device stood still while the recording began, and runs at a higher
// clock for a while.
constexpr std::int64_t kSettlingSteps = 16;
constexpr std::size_t kEarlierSteps = 64;

std::int64_t Nanoseconds(TimePoint at) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(at.time_since_epoch()).count();
}

void LogLines(std::string_view text) {
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    LogInfo("{}", text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

}  // namespace

StepProfiler::StepProfiler(ProfileOptions options, Executor& executor)
    : options_(std::move(options)), executor_(executor) {}

void StepProfiler::Start() {
  state_ = State::kRecording;
  const Status status = executor_.StartProfile();
  if (!status.ok()) LogWarning("the profile has the host alone: {}", status.error().message);
}

void StepProfiler::CloseSpan(HostPhase next) {
  if (!span_open_) return;
  span_open_ = false;
  span_.end_ns = Nanoseconds(Now());
  // A plan that is not launched is an empty one: all there is to do is in flight.
  const bool planned_nothing = span_.phase == HostPhase::kPlan && next != HostPhase::kLaunch;
  if (!planned_nothing) spans_.push_back(span_);
}

void StepProfiler::Enter(HostPhase phase) {
  if (state_ == State::kDone) return;
  if (state_ == State::kBefore) {
    const bool due = num_launched_ + kSettlingSteps >= options_.first_step;
    if (phase != HostPhase::kPlan || !due) return;
    Start();
  }
  if (span_open_ && span_.phase == phase) return;
  CloseSpan(phase);
  const bool oldest = phase == HostPhase::kWait || phase == HostPhase::kTakeIn;
  span_ = {phase, oldest ? num_finished_ : num_launched_, Nanoseconds(Now()), 0};
  span_open_ = true;
}

void StepProfiler::Launched(const StepPlan& plan) {
  if (state_ == State::kDone) return;
  if (state_ == State::kRecording) {
    CloseSpan(HostPhase::kPlan);
    steps_.push_back({num_launched_, plan.num_tokens(),
                      static_cast<std::int32_t>(plan.items.size()), span_.begin_ns, span_.end_ns});
  }
  tokens_in_flight_.push_back(plan.num_tokens());
  ++num_launched_;
}

void StepProfiler::Finished(const StepTimes& times) {
  if (state_ == State::kDone) return;
  if (state_ == State::kBefore) {
    earlier_.push_back({tokens_in_flight_.front(), double{times.device} + double{times.gap}});
    if (earlier_.size() > kEarlierSteps) earlier_.pop_front();
  }
  tokens_in_flight_.pop_front();
  CloseSpan(HostPhase::kPlan);
  ++num_finished_;
  if (state_ == State::kRecording && num_finished_ >= options_.first_step + options_.num_steps)
    Write(options_.num_steps);
}

void StepProfiler::End() {
  if (state_ == State::kDone) return;
  CloseSpan(HostPhase::kIdle);
  const std::int64_t num_steps = num_finished_ - options_.first_step;
  if (num_steps > 0) {
    Write(num_steps);
    return;
  }
  LogWarning("no profile: the engine ended after {} steps, and the profile begins after {}",
             num_finished_, options_.first_step);
  if (state_ == State::kRecording) executor_.StopProfile();
  state_ = State::kDone;
}

// The median: a step that was recorded as a graph takes longer.
double StepProfiler::UnrecordedStepUs(std::int32_t tokens) const {
  std::vector<double> us;
  for (const Earlier& step : earlier_)
    if (step.tokens == tokens) us.push_back(step.us);
  if (us.empty()) return 0;
  const auto middle = us.begin() + static_cast<std::ptrdiff_t>(us.size() / 2);
  std::nth_element(us.begin(), middle, us.end());
  return *middle;
}

void StepProfiler::Write(std::int64_t num_steps) {
  state_ = State::kDone;
  const DeviceProfile device = executor_.StopProfile();
  StepProfile profile =
      CutProfile(steps_, std::move(spans_), device, options_.first_step, num_steps);
  profile.device_name = executor_.info().device;
  if (!profile.steps.empty())
    profile.unrecorded_step_us = UnrecordedStepUs(profile.steps.front().tokens);
  ProfileSummary summary = Summarize(profile);
  summary.trace_file = WriteTrace(profile).string();
  if (options_.on_done) {
    options_.on_done(summary);
  } else {
    LogLines(ToText(summary));
  }
  steps_ = {};
  spans_ = {};
}

// Where it was written; empty where it could not be.
std::filesystem::path StepProfiler::WriteTrace(const StepProfile& profile) const {
  std::filesystem::path file = options_.file;
  if (file.empty()) file = fmt::format("quire-profile-{}.json", ::getpid());
  const std::string text = ChromeTrace(profile);
  std::ofstream out(file, std::ios::binary | std::ios::trunc);
  out.write(text.data(), static_cast<std::streamsize>(text.size()));
  out.close();
  if (out) return file;
  LogError("the profile could not be written to {}: {}", file.string(),
           std::generic_category().message(errno));
  return {};
}

}  // namespace quire
