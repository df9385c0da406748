#include "runtime/step_profile.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "base/json.h"
#include "runtime/chrome_trace.h"
#include "runtime/profile_summary.h"

namespace quire {
namespace {

// Three steps whose launches call the device with the ids 10…, 20… and 30…; times in microseconds
// below, nanoseconds here.
class Recording {
 public:
  Recording() {
    device_.names = {"cudaGraphLaunch",
                     "void quire::cuda::(anonymous namespace)::Norm<int>(float*)", "gemm",
                     "cudaMemcpyAsync"};
    for (int i = 0; i < 3; ++i) {
      const std::int64_t begin = 100 * i;
      steps_.push_back({i + 5, 4 + i, 2, Ns(begin + 10), Ns(begin + 20)});
      spans_.push_back({HostPhase::kPlan, i + 5, Ns(begin), Ns(begin + 10)});
      spans_.push_back({HostPhase::kLaunch, i + 5, Ns(begin + 10), Ns(begin + 20)});
      spans_.push_back({HostPhase::kWait, i + 5, Ns(begin + 20), Ns(begin + 85)});
      spans_.push_back({HostPhase::kTakeIn, i + 5, Ns(begin + 85), Ns(begin + 90)});
      const auto id = static_cast<std::uint32_t>(10 * i + 10);
      device_.calls.push_back({id, 3, 1, Ns(begin + 11), Ns(begin + 12)});
      device_.calls.push_back({id + 1, 0, 1, Ns(begin + 13), Ns(begin + 15)});
      AddCopy(id, begin + 20, begin + 24);
      AddKernel(1, id + 1, begin + 22, begin + 40);
      AddKernel(2, id + 1, begin + 45, begin + 80);
    }
  }

  StepProfile Cut(std::int64_t first, std::int64_t count) const {
    StepProfile profile = CutProfile(steps_, spans_, device_, first, count);
    profile.device_name = "a \"GPU\"";
    return profile;
  }

  DeviceProfile& device() { return device_; }
  const std::vector<ProfiledStep>& steps() const { return steps_; }

 private:
  static std::int64_t Ns(std::int64_t us) { return 1000000 + 1000 * us; }
  void AddKernel(std::uint32_t name, std::uint32_t call, std::int64_t begin, std::int64_t end) {
    DeviceActivity kernel;
    kernel.replayed = true;
    kernel.name = name;
    kernel.call = call;
    kernel.stream = 7;
    kernel.begin_ns = Ns(begin);
    kernel.end_ns = Ns(end);
    kernel.grid = {132, 1, 1};
    kernel.block = {256, 1, 1};
    kernel.registers = 64;
    device_.activities.push_back(kernel);
  }
  void AddCopy(std::uint32_t call, std::int64_t begin, std::int64_t end) {
    DeviceActivity copy;
    copy.work = DeviceWork::kCopy;
    copy.call = call;
    copy.stream = 7;
    copy.bytes = 8000;
    copy.begin_ns = Ns(begin);
    copy.end_ns = Ns(end);
    device_.activities.push_back(copy);
  }

  std::vector<ProfiledStep> steps_;
  std::vector<HostSpan> spans_;
  DeviceProfile device_;
};

TEST(StepProfile, CallsTellTheStepsOfActivities) {
  Recording recording;
  DeviceActivity early;
  early.call = 9;  // before the first step
  DeviceActivity unknown;
  unknown.call = 25;  // its call was not recorded
  recording.device().activities.insert(recording.device().activities.begin(), {early, unknown});
  EXPECT_EQ(StepsOf(recording.device(), recording.steps()),
            (std::vector<std::int64_t>{-1, 1, 0, 0, 0, 1, 1, 1, 2, 2, 2}));
  // A step without any call launches nothing.
  std::erase_if(recording.device().calls, [](const DeviceCall& call) { return call.id / 10 == 2; });
  EXPECT_EQ(StepsOf(recording.device(), recording.steps())[1], 0);
}

TEST(StepProfile, CutKeepsTheWantedSteps) {
  const StepProfile profile = Recording().Cut(6, 2);
  ASSERT_EQ(profile.steps.size(), 2U);
  EXPECT_EQ(profile.steps[0].number, 6);
  EXPECT_EQ(profile.device.activities.size(), 6U);
  EXPECT_EQ(profile.activity_steps, (std::vector<std::size_t>{0, 0, 0, 1, 1, 1}));
  EXPECT_EQ(profile.device.calls.size(), 4U);
  EXPECT_EQ(profile.spans.size(), 8U);
  EXPECT_TRUE(Recording().Cut(9, 3).steps.empty());
  EXPECT_EQ(Summarize(Recording().Cut(9, 3)).num_steps, 0);
}

TEST(StepProfile, NamesAreShortAndDifferent) {
  EXPECT_EQ(ShortKernelName("void quire::cuda::(anonymous namespace)::Norm<__nv_bfloat16, (int)4>("
                            "float const*, void (*)(int))",
                            80),
            "Norm<bf16, (int)4>");
  EXPECT_EQ(ShortKernelName("nvjet_tst_192x8_64x8_v_bz_TNT", 80), "nvjet_tst_192x8_64x8_v_bz_TNT");
  EXPECT_EQ(ShortKernelName("void a::Long<1234567890>()", 12), "a::Long<1...");
  EXPECT_EQ(ShortKernelName("", 12), "?");
  const std::vector<std::string> names = {"void f(int)", "void f(float)", "g"};
  EXPECT_EQ(ShortNames(names), (std::vector<std::string>{"f", "f #2", "g"}));
}

TEST(StepProfile, SummaryAddsUp) {
  const ProfileSummary summary = Summarize(Recording().Cut(5, 3));
  EXPECT_EQ(summary.num_steps, 3);
  EXPECT_EQ(summary.first_step, 5);
  EXPECT_DOUBLE_EQ(summary.tokens, 5);
  // From 20 to 280 us: three times 20 + 35 us of work, 5 us inside a step, 40 between two.
  EXPECT_DOUBLE_EQ(summary.step_us, 260.0 / 3);
  EXPECT_DOUBLE_EQ(summary.busy_us, 55);
  EXPECT_DOUBLE_EQ(summary.gap_us, (3 * 5 + 2 * 40) / 3.0);
  EXPECT_DOUBLE_EQ(summary.between_steps_us, 2 * 40 / 3.0);
  EXPECT_DOUBLE_EQ(summary.num_gaps, 5 / 3.0);
  EXPECT_NEAR(summary.busy_us + summary.gap_us, summary.step_us, 1e-9);
  EXPECT_DOUBLE_EQ(summary.largest_gap.us, 40);
  EXPECT_EQ(summary.largest_gap.step, 6);
  EXPECT_EQ(summary.largest_gap.before, "gemm");
  EXPECT_EQ(summary.largest_gap.after, "copy host to device, 8000 bytes");
  ASSERT_EQ(summary.gap_kinds.size(), 2U);
  EXPECT_EQ(summary.gap_kinds[0].after, "copy host to device");
  EXPECT_DOUBLE_EQ(summary.gap_kinds[0].MeanUs(), 40);
  EXPECT_EQ(summary.gap_kinds[1].before, "Norm<int>");
  EXPECT_DOUBLE_EQ(summary.gap_kinds[1].us, 5);
  // A copy of 4 us, of which a kernel covers 2.
  const auto& copies = summary.copies[0];
  EXPECT_DOUBLE_EQ(copies.count, 1);
  EXPECT_DOUBLE_EQ(copies.us, 4);
  EXPECT_DOUBLE_EQ(copies.exposed_us, 2);
  EXPECT_DOUBLE_EQ(copies.GbPerS(), 2);
  EXPECT_DOUBLE_EQ(summary.exposed_copy_us, 2);
  ASSERT_EQ(summary.kernels.size(), 2U);
  EXPECT_EQ(summary.kernels[0].name, "gemm");
  EXPECT_DOUBLE_EQ(summary.kernels[0].MeanUs(), 35);
  EXPECT_EQ(summary.kernels[1].name, "Norm<int>");
  EXPECT_DOUBLE_EQ(summary.kernel_us, 53);
  EXPECT_DOUBLE_EQ(summary.host_us[static_cast<std::size_t>(HostPhase::kWait)], 65);
  const std::string text = ToText(summary);
  EXPECT_NE(text.find("2.00 GB/s"), std::string::npos) << text;
  EXPECT_NE(text.find("Norm<int>"), std::string::npos) << text;
  EXPECT_EQ(ToJson(summary)["gaps"]["largest_before"], "gemm");
}

TEST(StepProfile, AHostAloneHasASummaryToo) {
  Recording recording;
  recording.device() = {};
  const ProfileSummary summary = Summarize(recording.Cut(5, 3));
  EXPECT_EQ(summary.num_activities, 0);
  EXPECT_DOUBLE_EQ(summary.step_us, (290.0 - 10) / 3);
  EXPECT_EQ(ToText(summary).find("kernel"), std::string::npos);
  EXPECT_TRUE(ParseJson(ChromeTrace(recording.Cut(5, 3))).ok());
}

TEST(ChromeTrace, IsJsonOfRowsThatDoNotOverlap) {
  Recording recording;
  const auto trace = ParseJson(ChromeTrace(recording.Cut(5, 3)));
  ASSERT_TRUE(trace.ok()) << trace.error().message;
  std::map<std::pair<int, int>, std::vector<std::pair<double, double>>> rows;
  std::map<std::pair<int, int>, std::string> names;
  int arrows = 0;
  Json copy;
  for (const Json& event : (*trace)["traceEvents"]) {
    const std::string kind = event["ph"];
    if (kind == "s" || kind == "f") ++arrows;
    if (kind == "M" && event["name"] == "thread_name")
      names[{event["pid"], event["tid"]}] = event["args"]["name"];
    if (kind != "X") continue;
    rows[{event["pid"], event["tid"]}].push_back({event["ts"], event["dur"]});
    if (event["name"] == "copy" && copy.is_null()) copy = event["args"];
  }
  EXPECT_EQ((*trace)["otherData"]["device"], "a \"GPU\"");
  EXPECT_EQ(rows.size(), 5U);  // engine, calls; steps, stream, copies
  for (auto& [row, slices] : rows) {
    EXPECT_TRUE(names.contains(row)) << row.first << ' ' << row.second;
    for (std::size_t i = 1; i < slices.size(); ++i)
      EXPECT_LE(slices[i - 1].first + slices[i - 1].second, slices[i].first + 1e-6) << names[row];
  }
  EXPECT_EQ(arrows, 2 * 6);  // two calls of each step launch something
  EXPECT_EQ(copy["bytes"], 8000);
  EXPECT_EQ(copy["gb_per_s"], 2.0);
  EXPECT_EQ(copy["exposed_us"], 2.0);
  EXPECT_EQ(copy["overlaps"], "Norm<int> 2.00 us");
  EXPECT_EQ(copy["step"], 5);
}

}  // namespace
}  // namespace quire
