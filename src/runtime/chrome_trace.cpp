#include "runtime/chrome_trace.h"

#include <fmt/core.h>
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <utility>

#include "base/json.h"
#include "runtime/intervals.h"
#include "runtime/profile_summary.h"

namespace quire {
namespace {

constexpr int kHost = 1, kDevice = 2;  // processes of the trace
constexpr int kMaxOverlaps = 8;        // kernels named at a copy

std::string Quoted(std::string_view text) {
  std::string quoted;
  AppendJsonString(quoted, text);
  return quoted;
}

// Owns the text of the trace while it grows.
class Writer {
 public:
  // Times are written as microseconds since this one.
  explicit Writer(std::int64_t origin_ns) : origin_ns_(origin_ns) {}

  void NameProcess(int process, std::string_view name) {
    Begin();
    fmt::format_to(out(), R"({{"ph":"M","pid":{},"name":"process_name","args":{{"name":{}}}}})",
                   process, Quoted(name));
  }
  void NameRow(int process, int row, std::string_view name) {
    Begin();
    fmt::format_to(out(),
                   R"({{"ph":"M","pid":{},"tid":{},"name":"thread_name","args":{{"name":{}}}}},)",
                   process, row, Quoted(name));
    fmt::format_to(
        out(),
        R"({{"ph":"M","pid":{},"tid":{},"name":"thread_sort_index","args":{{"sort_index":{}}}}})",
        process, row, row);
  }
  // `args`: the members of a JSON object, or empty.
  void Slice(int process, int row, std::string_view name, const Interval& time,
             std::string_view args) {
    Begin();
    fmt::format_to(
        out(), R"({{"ph":"X","pid":{},"tid":{},"name":{},"ts":{:.3f},"dur":{:.3f},"args":{{{}}}}})",
        process, row, Quoted(name), Us(time.begin), static_cast<double>(time.length()) * 1e-3,
        args);
  }
  void Arrow(std::size_t id, bool to, int process, int row, std::int64_t at_ns) {
    Begin();
    fmt::format_to(
        out(),
        R"({{"ph":"{}","id":{},"pid":{},"tid":{},"ts":{:.3f},"name":"launch","cat":"launch"{}}})",
        to ? "f" : "s", id, process, row, Us(at_ns), to ? R"(,"bp":"e")" : "");
  }
  std::string Finish(std::string_view members) {
    return fmt::format("{{\"traceEvents\":[{}\n],{}}}\n", text_, members);
  }

 private:
  std::back_insert_iterator<std::string> out() { return std::back_inserter(text_); }
  void Begin() { text_ += text_.empty() ? "\n" : ",\n"; }
  double Us(std::int64_t at_ns) const { return static_cast<double>(at_ns - origin_ns_) * 1e-3; }

  std::int64_t origin_ns_;
  std::string text_;
};

// Owns nothing: writes one profile.
class Tracer {
 public:
  explicit Tracer(const StepProfile& profile)
      : profile_(profile),
        names_(ShortNames(profile.device.names)),
        writer_(profile.spans.empty() ? 0 : profile.spans.front().begin_ns) {}

  std::string Write() {
    WriteHost();
    if (!profile_.device.activities.empty()) WriteDevice();
    return writer_.Finish(
        fmt::format(R"("displayTimeUnit":"ns","otherData":{{"device":{},"steps":{}}})",
                    Quoted(profile_.device_name), profile_.steps.size()));
  }

 private:
  struct Entry {
    std::string_view name;
    Interval time;
    std::string args;
    std::size_t activity = 0;
  };

  void WriteHost();
  void WriteDevice();
  void WriteSteps();
  // Entries in the order of begins, in as many rows as they need. Returns those of the entries.
  std::vector<int> WriteRows(int process, std::string_view name, const std::vector<Entry>& entries);
  void WriteArrows(const std::vector<int>& rows);
  std::string ArgsOf(std::size_t index) const;
  std::string Overlaps(const DeviceActivity& copy) const;
  std::string RowOf(const DeviceActivity& activity) const;

  const StepProfile& profile_;
  std::vector<std::string> names_;
  Writer writer_;
  int rows_ = 0;                   // used so far
  std::vector<Interval> kernels_;  // united
  std::int64_t longest_ns_ = 0;    // of a kernel
  std::vector<int> call_rows_;
};

std::vector<int> Tracer::WriteRows(int process, std::string_view name,
                                   const std::vector<Entry>& entries) {
  std::vector<Interval> times;
  times.reserve(entries.size());
  for (const Entry& entry : entries) times.push_back(entry.time);
  std::vector<int> rows = AssignRows(times);
  const int used = rows.empty() ? 0 : 1 + *std::max_element(rows.begin(), rows.end());
  for (int i = 0; i < used; ++i)
    writer_.NameRow(process, rows_ + i,
                    i == 0 ? std::string(name) : fmt::format("{} (overlapping {})", name, i));
  for (std::size_t i = 0; i < entries.size(); ++i) {
    rows[i] += rows_;
    writer_.Slice(process, rows[i], entries[i].name, entries[i].time, entries[i].args);
  }
  rows_ += used;
  return rows;
}

void Tracer::WriteHost() {
  writer_.NameProcess(kHost, "host");
  std::map<std::int64_t, const ProfiledStep*> steps;
  for (const ProfiledStep& step : profile_.steps) steps[step.number] = &step;
  std::vector<Entry> entries;
  for (const HostSpan& span : profile_.spans) {
    Entry entry{Name(span.phase), {span.begin_ns, span.end_ns}, "", 0};
    entry.args = fmt::format(R"("step":{})", span.step);
    if (const auto step = steps.find(span.step); step != steps.end())
      entry.args += fmt::format(R"(,"tokens":{},"sequences":{})", step->second->tokens,
                                step->second->sequences);
    entries.push_back(std::move(entry));
  }
  WriteRows(kHost, "engine", entries);
  std::map<std::uint32_t, std::vector<Entry>> threads;
  for (std::size_t i = 0; i < profile_.device.calls.size(); ++i) {
    const DeviceCall& call = profile_.device.calls[i];
    threads[call.thread].push_back(
        {names_[call.name], {call.begin_ns, call.end_ns}, fmt::format(R"("call":{})", call.id), i});
  }
  call_rows_.assign(profile_.device.calls.size(), 0);
  for (const auto& [thread, calls] : threads) {
    const std::vector<int> rows = WriteRows(
        kHost, threads.size() == 1 ? "calls" : fmt::format("calls, thread {}", thread), calls);
    for (std::size_t i = 0; i < calls.size(); ++i) call_rows_[calls[i].activity] = rows[i];
  }
}

// Each step from its first work on the device to its last.
void Tracer::WriteSteps() {
  std::vector<Interval> times(profile_.steps.size());
  for (std::size_t i = 0; i < profile_.device.activities.size(); ++i) {
    const DeviceActivity& activity = profile_.device.activities[i];
    Interval& time = times[profile_.activity_steps[i]];
    if (time.begin == 0) time.begin = activity.begin_ns;
    time.end = std::max(time.end, activity.end_ns);
  }
  std::vector<std::string> names;
  std::vector<Entry> entries;
  names.reserve(times.size());
  for (std::size_t i = 0; i < times.size(); ++i) {
    if (times[i].length() == 0) continue;
    const ProfiledStep& step = profile_.steps[i];
    names.push_back(fmt::format("step {}", step.number));
    entries.push_back({names.back(), times[i],
                       fmt::format(R"("tokens":{},"sequences":{})", step.tokens, step.sequences),
                       i});
  }
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return a.time.begin < b.time.begin; });
  WriteRows(kDevice, "steps", entries);
}

std::string Tracer::RowOf(const DeviceActivity& activity) const {
  return activity.work == DeviceWork::kCopy ? fmt::format("copies {}", Name(activity.direction))
                                            : fmt::format("stream {}", activity.stream);
}

// The kernels that run while a copy does, each with how long.
std::string Tracer::Overlaps(const DeviceActivity& copy) const {
  std::string text;
  int named = 0;
  const Interval time{copy.begin_ns, copy.end_ns};
  const std::vector<DeviceActivity>& all = profile_.device.activities;
  const auto first = std::lower_bound(
      all.begin(), all.end(), copy.begin_ns - longest_ns_,
      [](const DeviceActivity& other, std::int64_t at) { return other.begin_ns < at; });
  for (auto at = first; at != all.end() && at->begin_ns < copy.end_ns; ++at) {
    const DeviceActivity& other = *at;
    if (other.work != DeviceWork::kKernel || other.end_ns <= copy.begin_ns) continue;
    if (++named > kMaxOverlaps) break;
    const Interval both{std::max(time.begin, other.begin_ns), std::min(time.end, other.end_ns)};
    text += fmt::format("{}{} {:.2f} us", named == 1 ? "" : "; ", names_[other.name],
                        static_cast<double>(both.length()) * 1e-3);
  }
  return text;
}

std::string Tracer::ArgsOf(std::size_t index) const {
  const DeviceActivity& activity = profile_.device.activities[index];
  const Interval time{activity.begin_ns, activity.end_ns};
  std::string args = fmt::format(R"("step":{},"call":{},"replayed":{})",
                                 profile_.steps[profile_.activity_steps[index]].number,
                                 activity.call, activity.replayed);
  if (activity.work == DeviceWork::kKernel) {
    return args +
           fmt::format(R"(,"grid":"{}x{}x{}","block":"{}x{}x{}","registers":{},"shared_bytes":{})",
                       activity.grid[0], activity.grid[1], activity.grid[2], activity.block[0],
                       activity.block[1], activity.block[2], activity.registers,
                       activity.shared_bytes);
  }
  const double ns = static_cast<double>(std::max<std::int64_t>(1, time.length()));
  args += fmt::format(R"(,"bytes":{},"gb_per_s":{:.3f})", activity.bytes,
                      static_cast<double>(activity.bytes) / ns);
  if (activity.work == DeviceWork::kFill) return args;
  return args + fmt::format(R"(,"stream":{},"pageable":{},"exposed_us":{:.3f},"overlaps":{})",
                            activity.stream, activity.pageable,
                            static_cast<double>(time.length() - Covered(time, kernels_)) * 1e-3,
                            Quoted(Overlaps(activity)));
}

void Tracer::WriteDevice() {
  writer_.NameProcess(kDevice, profile_.device_name);
  const std::vector<DeviceActivity>& activities = profile_.device.activities;
  for (const DeviceActivity& activity : activities) {
    if (activity.work != DeviceWork::kKernel) continue;
    kernels_.push_back({activity.begin_ns, activity.end_ns});
    longest_ns_ = std::max(longest_ns_, kernels_.back().length());
  }
  kernels_ = Unite(std::move(kernels_));
  WriteSteps();
  std::map<std::string, std::vector<Entry>> rows;
  for (std::size_t i = 0; i < activities.size(); ++i) {
    const DeviceActivity& activity = activities[i];
    std::string_view name = "copy";
    if (activity.work == DeviceWork::kKernel) name = names_[activity.name];
    if (activity.work == DeviceWork::kFill) name = "fill";
    rows[RowOf(activity)].push_back({name, {activity.begin_ns, activity.end_ns}, ArgsOf(i), i});
  }
  std::vector<int> row_of(activities.size());
  for (const auto& [name, entries] : rows) {
    const std::vector<int> used = WriteRows(kDevice, name, entries);
    for (std::size_t i = 0; i < entries.size(); ++i) row_of[entries[i].activity] = used[i];
  }
  WriteArrows(row_of);
}

void Tracer::WriteArrows(const std::vector<int>& rows) {
  std::map<std::uint32_t, std::size_t> calls;  // the first activity of each
  for (std::size_t i = 0; i < profile_.device.activities.size(); ++i)
    calls.emplace(profile_.device.activities[i].call, i);
  for (std::size_t i = 0; i < profile_.device.calls.size(); ++i) {
    const auto launched = calls.find(profile_.device.calls[i].id);
    if (launched == calls.end()) continue;
    writer_.Arrow(i, /*to=*/false, kHost, call_rows_[i], profile_.device.calls[i].begin_ns);
    writer_.Arrow(i, /*to=*/true, kDevice, rows[launched->second],
                  profile_.device.activities[launched->second].begin_ns);
  }
}

}  // namespace

std::string ChromeTrace(const StepProfile& profile) { return Tracer(profile).Write(); }

}  // namespace quire
