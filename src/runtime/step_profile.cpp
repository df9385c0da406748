#include "runtime/step_profile.h"

#include <fmt/core.h>

#include <algorithm>
#include <iterator>
#include <limits>
#include <unordered_map>
#include <utility>

namespace quire {
namespace {

constexpr std::size_t kMaxNameBytes = 120;

template <class T>
void SortByBegin(std::vector<T>& values) {
  std::stable_sort(values.begin(), values.end(),
                   [](const T& a, const T& b) { return a.begin_ns < b.begin_ns; });
}

void ReplaceAll(std::string& text, std::string_view from, std::string_view to) {
  for (std::size_t at = text.find(from); at != std::string::npos; at = text.find(from, at))
    text.replace(at, from.size(), to);
}

// Where the parameters begin, and where the last word of what is before them does: brackets of
// templates do not count.
std::pair<std::size_t, std::size_t> FindParameters(std::string_view name) {
  std::size_t word = 0;
  int depth = 0;
  for (std::size_t i = 0; i < name.size(); ++i) {
    if (name[i] == '<') ++depth;
    if (name[i] == '>') --depth;
    if (depth > 0) continue;
    if (name[i] == '(') return {i, word};
    if (name[i] == ' ') word = i + 1;
  }
  return {name.size(), word};
}

}  // namespace

const char* Name(HostPhase phase) {
  static constexpr const char* kNames[kNumHostPhases] = {"idle", "plan", "launch", "wait",
                                                         "take in"};
  return kNames[static_cast<std::size_t>(phase)];
}

std::vector<std::int64_t> StepsOf(const DeviceProfile& device,
                                  std::span<const ProfiledStep> steps) {
  constexpr std::uint32_t kNone = std::numeric_limits<std::uint32_t>::max();
  // The first call of each step. Ids grow, so what is launched from there to the next step's first
  // call is the step's, whether or not the call that did it was recorded.
  std::vector<std::uint32_t> first_calls(steps.size(), kNone);
  for (const DeviceCall& call : device.calls) {
    const auto behind = std::upper_bound(
        steps.begin(), steps.end(), call.begin_ns,
        [](std::int64_t at, const ProfiledStep& step) { return at < step.launch_begin_ns; });
    if (behind == steps.begin() || call.begin_ns > std::prev(behind)->launch_end_ns) continue;
    std::uint32_t& first = first_calls[static_cast<std::size_t>(behind - steps.begin()) - 1];
    first = std::min(first, call.id);
  }
  struct Start {
    std::uint32_t call;
    std::int64_t step;
  };
  std::vector<Start> starts;
  for (std::size_t i = 0; i < steps.size(); ++i)
    if (first_calls[i] != kNone) starts.push_back({first_calls[i], static_cast<std::int64_t>(i)});
  std::vector<std::int64_t> found;
  found.reserve(device.activities.size());
  for (const DeviceActivity& activity : device.activities) {
    const auto behind =
        std::upper_bound(starts.begin(), starts.end(), activity.call,
                         [](std::uint32_t call, const Start& start) { return call < start.call; });
    found.push_back(behind == starts.begin() ? -1 : std::prev(behind)->step);
  }
  return found;
}

StepProfile CutProfile(std::span<const ProfiledStep> steps, std::vector<HostSpan> spans,
                       const DeviceProfile& device, std::int64_t first, std::int64_t count) {
  StepProfile profile;
  const auto wanted = [&](std::int64_t number) {
    return number >= first && number < first + count;
  };
  std::vector<std::size_t> index(steps.size());
  for (std::size_t i = 0; i < steps.size(); ++i) {
    index[i] = profile.steps.size();
    if (wanted(steps[i].number)) profile.steps.push_back(steps[i]);
  }
  SortByBegin(spans);
  // From the first step's plan to the last one's take in, whatever step a span is of.
  const auto is_of = [&](const HostSpan& span) { return wanted(span.step); };
  const auto begin = std::find_if(spans.begin(), spans.end(), is_of);
  const auto last = std::find_if(spans.rbegin(), spans.rend(), is_of);
  if (begin == spans.end()) return profile;
  profile.spans.assign(begin, last.base());
  DeviceProfile& cut = profile.device;
  cut.names = device.names;
  cut.num_lost = device.num_lost;
  for (const DeviceCall& call : device.calls)
    if (call.begin_ns >= begin->begin_ns && call.end_ns <= last->end_ns) cut.calls.push_back(call);
  SortByBegin(cut.calls);
  const std::vector<std::int64_t> of = StepsOf(device, steps);
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < of.size(); ++i)
    if (of[i] >= 0 && wanted(steps[static_cast<std::size_t>(of[i])].number)) order.push_back(i);
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return device.activities[a].begin_ns < device.activities[b].begin_ns;
  });
  for (const std::size_t i : order) {
    cut.activities.push_back(device.activities[i]);
    profile.activity_steps.push_back(index[static_cast<std::size_t>(of[i])]);
  }
  return profile;
}

std::string ShortKernelName(std::string_view name, std::size_t max_bytes) {
  std::string text(name);
  for (const char* prefix : {"(anonymous namespace)::", "quire::cuda::", "quire::"})
    ReplaceAll(text, prefix, "");
  ReplaceAll(text, "__nv_bfloat16", "bf16");
  ReplaceAll(text, "__half", "half");
  const auto [end, word] = FindParameters(text);
  text = text.substr(word, end - word);
  if (text.size() > max_bytes) text = text.substr(0, max_bytes - 3) + "...";
  return text.empty() ? "?" : text;
}

std::vector<std::string> ShortNames(std::span<const std::string> names) {
  std::vector<std::string> result;
  std::unordered_map<std::string, int> used;
  for (const std::string& name : names) {
    std::string text = ShortKernelName(name, kMaxNameBytes);
    const int times = ++used[text];
    if (times > 1) text += fmt::format(" #{}", times);
    result.push_back(std::move(text));
  }
  return result;
}

}  // namespace quire
