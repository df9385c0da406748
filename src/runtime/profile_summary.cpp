#include "runtime/profile_summary.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <tuple>
#include <utility>

#include "runtime/intervals.h"

namespace quire {
namespace {

constexpr std::size_t kNameColumns = 56;

std::vector<Interval> IntervalsOf(const StepProfile& profile, bool kernels_only) {
  std::vector<Interval> intervals;
  for (const DeviceActivity& activity : profile.device.activities)
    if (!kernels_only || activity.work == DeviceWork::kKernel)
      intervals.push_back({activity.begin_ns, activity.end_ns});
  return intervals;
}

std::string KindOf(const DeviceActivity& activity, const std::vector<std::string>& names) {
  if (activity.work == DeviceWork::kKernel) return names[activity.name];
  if (activity.work == DeviceWork::kFill) return "fill";
  return fmt::format("copy {}", Name(activity.direction));
}

std::string NameOf(const DeviceActivity& activity, const std::vector<std::string>& names) {
  const std::string kind = KindOf(activity, names);
  if (activity.work == DeviceWork::kKernel) return kind;
  return fmt::format("{}, {} bytes", kind, activity.bytes);
}

void AddGaps(const StepProfile& profile, const std::vector<std::string>& names,
             ProfileSummary& summary) {
  const std::vector<Interval> all = IntervalsOf(profile, /*kernels_only=*/false);
  std::map<std::pair<std::string, std::string>, ProfileSummary::GapKind> kinds;
  for (const Gap& gap : FindGaps(all)) {
    const DeviceActivity& before = profile.device.activities[gap.before];
    const DeviceActivity& after = profile.device.activities[gap.after];
    const auto us = static_cast<double>(gap.interval.length()) * 1e-3;
    const std::size_t step = profile.activity_steps[gap.after];
    summary.num_gaps += 1;
    summary.gap_us += us;
    if (profile.activity_steps[gap.before] != step) summary.between_steps_us += us;
    ProfileSummary::GapKind& kind = kinds[{KindOf(before, names), KindOf(after, names)}];
    kind.count += 1;
    kind.us += us;
    if (us <= summary.largest_gap.us) continue;
    summary.largest_gap = {us, profile.steps[step].number, NameOf(before, names),
                           NameOf(after, names)};
  }
  for (auto& [ends, kind] : kinds) {
    std::tie(kind.before, kind.after) = ends;
    summary.gap_kinds.push_back(std::move(kind));
  }
  std::stable_sort(summary.gap_kinds.begin(), summary.gap_kinds.end(),
                   [](const auto& a, const auto& b) { return a.us > b.us; });
  summary.busy_us = static_cast<double>(TotalLength(Unite(all))) * 1e-3;
}

void AddWork(const StepProfile& profile, const std::vector<std::string>& names,
             ProfileSummary& summary) {
  const std::vector<Interval> kernels = Unite(IntervalsOf(profile, /*kernels_only=*/true));
  std::vector<ProfileSummary::Kernel> by_name(names.size());
  std::vector<Interval> copies;
  for (const DeviceActivity& activity : profile.device.activities) {
    const Interval interval{activity.begin_ns, activity.end_ns};
    const auto us = static_cast<double>(interval.length()) * 1e-3;
    if (activity.work == DeviceWork::kKernel) {
      by_name[activity.name].count += 1;
      by_name[activity.name].us += us;
      summary.kernel_us += us;
    } else if (activity.work == DeviceWork::kFill) {
      summary.num_fills += 1;
      summary.fill_us += us;
    } else {
      ProfileSummary::Copies& sum = summary.copies[static_cast<std::size_t>(activity.direction)];
      sum.count += 1;
      sum.bytes += static_cast<double>(activity.bytes);
      sum.us += us;
      sum.exposed_us += us - static_cast<double>(Covered(interval, kernels)) * 1e-3;
      copies.push_back(interval);
    }
  }
  for (const Interval& copy : Unite(std::move(copies)))
    summary.exposed_copy_us += static_cast<double>(copy.length() - Covered(copy, kernels)) * 1e-3;
  for (std::size_t i = 0; i < by_name.size(); ++i) {
    if (by_name[i].count == 0) continue;
    by_name[i].name = names[i];
    summary.kernels.push_back(std::move(by_name[i]));
  }
  std::stable_sort(summary.kernels.begin(), summary.kernels.end(),
                   [](const auto& a, const auto& b) { return a.us > b.us; });
}

void AddSteps(const StepProfile& profile, ProfileSummary& summary) {
  const std::vector<DeviceActivity>& activities = profile.device.activities;
  std::int64_t begin = profile.steps.front().launch_begin_ns;  // the host's where it is alone
  std::int64_t end = profile.spans.empty() ? begin : profile.spans.back().end_ns;
  if (!activities.empty()) begin = end = activities.front().begin_ns;
  for (const DeviceActivity& activity : activities) end = std::max(end, activity.end_ns);
  summary.step_us = static_cast<double>(end - begin) * 1e-3;
  for (const ProfiledStep& step : profile.steps) {
    summary.tokens += step.tokens;
    summary.sequences += step.sequences;
  }
  const std::int64_t first = profile.steps.front().number;
  const std::int64_t last = profile.steps.back().number;
  for (const HostSpan& span : profile.spans) {
    if (span.step < first || span.step > last) continue;
    summary.host_us[static_cast<std::size_t>(span.phase)] +=
        static_cast<double>(span.end_ns - span.begin_ns) * 1e-3;
  }
}

void DivideBySteps(ProfileSummary& summary) {
  const auto n = static_cast<double>(summary.num_steps);
  for (double* sum :
       {&summary.step_us, &summary.tokens, &summary.sequences, &summary.busy_us, &summary.gap_us,
        &summary.num_gaps, &summary.between_steps_us, &summary.fill_us, &summary.num_fills,
        &summary.exposed_copy_us, &summary.kernel_us})
    *sum /= n;
  for (double& us : summary.host_us) us /= n;
  for (ProfileSummary::GapKind& kind : summary.gap_kinds)
    for (double* sum : {&kind.count, &kind.us}) *sum /= n;
  for (ProfileSummary::Copies& copies : summary.copies)
    for (double* sum : {&copies.count, &copies.bytes, &copies.us, &copies.exposed_us}) *sum /= n;
  for (ProfileSummary::Kernel& kernel : summary.kernels) {
    kernel.count /= n;
    kernel.us /= n;
  }
}

double Percent(double part, double whole) { return whole > 0 ? 100 * part / whole : 0; }

std::string KernelText(const ProfileSummary& summary, std::size_t max_kernels) {
  std::string text = fmt::format("{:<{}} {:>8} {:>10} {:>10} {:>7}\n", "kernel", kNameColumns,
                                 "a step", "mean us", "us a step", "share");
  for (std::size_t i = 0; i < std::min(max_kernels, summary.kernels.size()); ++i) {
    const ProfileSummary::Kernel& kernel = summary.kernels[i];
    text += fmt::format("{:<{}} {:>8.1f} {:>10.2f} {:>10.1f} {:>5.1f} %\n",
                        kernel.name.substr(0, kNameColumns), kNameColumns, kernel.count,
                        kernel.MeanUs(), kernel.us, Percent(kernel.us, summary.kernel_us));
  }
  text += fmt::format("{:<{}} {:>8} {:>10} {:>10.1f}\n",
                      fmt::format("all {} kernels", summary.kernels.size()), kNameColumns, "", "",
                      summary.kernel_us);
  return text;
}

std::string DeviceText(const ProfileSummary& summary, std::size_t max_kernels,
                       std::size_t max_gaps) {
  std::string text = fmt::format(
      "Device, a step: busy {:.1f} us ({:.2f} %), {:.1f} gaps of {:.1f} us together, of it {:.1f} "
      "us between steps ({:.2f} %)\n",
      summary.busy_us, Percent(summary.busy_us, summary.step_us), summary.num_gaps, summary.gap_us,
      summary.between_steps_us, Percent(summary.between_steps_us, summary.step_us));
  if (summary.largest_gap.us > 0)
    text += fmt::format("  largest gap: {:.1f} us, step {}: {} -> {}\n", summary.largest_gap.us,
                        summary.largest_gap.step, summary.largest_gap.before,
                        summary.largest_gap.after);
  for (std::size_t i = 0; i < std::min(max_gaps, summary.gap_kinds.size()); ++i) {
    const ProfileSummary::GapKind& kind = summary.gap_kinds[i];
    text += fmt::format("  {:5.1f} gaps of {:.2f} us, {:.1f} us a step: {} -> {}\n", kind.count,
                        kind.MeanUs(), kind.us, kind.before, kind.after);
  }
  for (int i = 0; i < kNumCopyDirections; ++i) {
    const ProfileSummary::Copies& copies = summary.copies[static_cast<std::size_t>(i)];
    if (copies.count == 0) continue;
    text += fmt::format(
        "Copies {}, a step: {:.1f}, {:.0f} bytes, {:.1f} us ({:.2f} GB/s), exposed {:.1f} us\n",
        Name(static_cast<CopyDirection>(i)), copies.count, copies.bytes, copies.us, copies.GbPerS(),
        copies.exposed_us);
  }
  if (summary.num_fills > 0)
    text += fmt::format("Fills, a step: {:.1f}, {:.1f} us\n", summary.num_fills, summary.fill_us);
  text += KernelText(summary, max_kernels);
  if (summary.num_lost > 0)
    text += fmt::format("{} records of the device were lost\n", summary.num_lost);
  return text;
}

}  // namespace

const char* Name(CopyDirection direction) {
  static constexpr const char* kNames[kNumCopyDirections] = {
      "host to device", "device to host", "device to device", "host to host", "peer to peer"};
  return kNames[static_cast<std::size_t>(direction)];
}

ProfileSummary Summarize(const StepProfile& profile) {
  ProfileSummary summary;
  summary.num_steps = static_cast<std::int64_t>(profile.steps.size());
  if (profile.steps.empty()) return summary;
  const std::vector<std::string> names = ShortNames(profile.device.names);
  summary.first_step = profile.steps.front().number;
  summary.unrecorded_step_us = profile.unrecorded_step_us;
  summary.num_activities = static_cast<std::int64_t>(profile.device.activities.size());
  summary.num_lost = profile.device.num_lost;
  AddSteps(profile, summary);
  AddGaps(profile, names, summary);
  AddWork(profile, names, summary);
  DivideBySteps(summary);
  return summary;
}

std::string ToText(const ProfileSummary& summary, std::size_t max_kernels, std::size_t max_gaps) {
  std::string text =
      fmt::format("Profile: steps {} to {}, each {:.1f} tokens of {:.1f} sequences in {:.1f} us",
                  summary.first_step, summary.first_step + summary.num_steps - 1, summary.tokens,
                  summary.sequences, summary.step_us);
  if (summary.unrecorded_step_us > 0)
    text += fmt::format(" (such steps took {:.1f} us before)", summary.unrecorded_step_us);
  text += "\nHost, a step:";
  for (int i = 0; i < kNumHostPhases; ++i) {
    const double us = summary.host_us[static_cast<std::size_t>(i)];
    if (us == 0 && static_cast<HostPhase>(i) == HostPhase::kIdle) continue;
    text += fmt::format("{} {} {:.1f} us", text.back() == ':' ? "" : ",",
                        Name(static_cast<HostPhase>(i)), us);
  }
  text += "\n";
  if (summary.num_activities > 0) text += DeviceText(summary, max_kernels, max_gaps);
  if (!summary.trace_file.empty()) text += "Trace: " + summary.trace_file + "\n";
  return text;
}

Json ToJson(const ProfileSummary& summary) {
  Json json = {
      {"steps", summary.num_steps},        {"first_step", summary.first_step},
      {"tokens_per_step", summary.tokens}, {"sequences_per_step", summary.sequences},
      {"step_us", summary.step_us},        {"unrecorded_step_us", summary.unrecorded_step_us}};
  Json& host = json["host_us"] = Json::object();
  for (int i = 0; i < kNumHostPhases; ++i)
    host[Name(static_cast<HostPhase>(i))] = summary.host_us[static_cast<std::size_t>(i)];
  json["trace_file"] = summary.trace_file;
  if (summary.num_activities == 0) return json;
  json["device_busy_us"] = summary.busy_us;
  json["gaps"] = {{"count", summary.num_gaps},
                  {"us", summary.gap_us},
                  {"between_steps_us", summary.between_steps_us},
                  {"largest_us", summary.largest_gap.us},
                  {"largest_step", summary.largest_gap.step},
                  {"largest_before", summary.largest_gap.before},
                  {"largest_after", summary.largest_gap.after},
                  {"kinds", Json::array()}};
  for (const ProfileSummary::GapKind& kind : summary.gap_kinds)
    json["gaps"]["kinds"].push_back(
        {{"before", kind.before}, {"after", kind.after}, {"count", kind.count}, {"us", kind.us}});
  Json& copies = json["copies"] = Json::object();
  for (int i = 0; i < kNumCopyDirections; ++i) {
    const ProfileSummary::Copies& sum = summary.copies[static_cast<std::size_t>(i)];
    if (sum.count == 0) continue;
    copies[Name(static_cast<CopyDirection>(i))] = {{"count", sum.count},
                                                   {"bytes", sum.bytes},
                                                   {"us", sum.us},
                                                   {"gb_per_s", sum.GbPerS()},
                                                   {"exposed_us", sum.exposed_us}};
  }
  json["exposed_copy_us"] = summary.exposed_copy_us;
  json["fills"] = {{"count", summary.num_fills}, {"us", summary.fill_us}};
  json["kernel_us"] = summary.kernel_us;
  Json& kernels = json["kernels"] = Json::array();
  for (const ProfileSummary::Kernel& kernel : summary.kernels)
    kernels.push_back({{"name", kernel.name},
                       {"count", kernel.count},
                       {"mean_us", kernel.MeanUs()},
                       {"us", kernel.us}});
  json["lost_records"] = summary.num_lost;
  return json;
}

}  // namespace quire
