#include "topology/gpu_energy.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "base/clock.h"

namespace quire {
namespace {

constexpr unsigned kMaxGpus = 64;

// Owns the session, and the thread that samples where a GPU has no energy counter.
class NvmlEnergyMeter final : public GpuEnergyMeter {
 public:
  NvmlEnergyMeter(std::unique_ptr<NvmlSession> session, std::vector<NvmlDevice> counted,
                  std::vector<NvmlDevice> sampled, std::chrono::milliseconds period)
      : session_(std::move(session)),
        counted_(std::move(counted)),
        sampled_(std::move(sampled)),
        last_counts_(counted_.size(), 0) {
    if (!sampled_.empty()) sampler_ = std::thread([this, period] { Sample(period); });
  }

  ~NvmlEnergyMeter() override {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    if (sampler_.joinable()) sampler_.join();
  }

  double Joules() override {
    const std::lock_guard lock(mutex_);
    if (!sampled_.empty()) AddSample();
    double joules = integral_.joules();
    for (std::size_t i = 0; i < counted_.size(); ++i) {
      unsigned long long count = 0;
      // A GPU that fails once keeps its last count, so that differences stay sensible.
      if (NvmlCall(session_->api().total_energy, counted_[i], &count) == kNvmlSuccess)
        last_counts_[i] = count;
      joules += static_cast<double>(last_counts_[i]) / 1000;
    }
    return joules;
  }

  double Watts() override { return WattsOf(counted_) + WattsOf(sampled_); }

 private:
  double WattsOf(const std::vector<NvmlDevice>& gpus) const {
    double watts = 0;
    for (NvmlDevice gpu : gpus) {
      unsigned milliwatts = 0;
      if (NvmlCall(session_->api().power_usage, gpu, &milliwatts) == kNvmlSuccess)
        watts += milliwatts / 1000.0;
    }
    return watts;
  }

  void AddSample() { integral_.Add(Seconds(Now() - start_), WattsOf(sampled_)); }

  void Sample(std::chrono::milliseconds period) {
    std::unique_lock lock(mutex_);
    while (!stopping_) {
      AddSample();
      wake_.wait_for(lock, period, [this] { return stopping_; });
    }
  }

  const std::unique_ptr<NvmlSession> session_;
  const std::vector<NvmlDevice> counted_, sampled_;
  const TimePoint start_ = Now();
  std::mutex mutex_;  // guards all below
  std::condition_variable wake_;
  bool stopping_ = false;
  PowerIntegral integral_;
  std::vector<unsigned long long> last_counts_;
  std::thread sampler_;
};

}  // namespace

void PowerIntegral::Add(double seconds, double watts) {
  if (started_ && seconds > seconds_) joules_ += (seconds - seconds_) * (watts + watts_) / 2;
  if (started_ && seconds < seconds_) return;
  started_ = true;
  seconds_ = seconds;
  watts_ = watts;
}

std::unique_ptr<GpuEnergyMeter> GpuEnergyMeter::Open() {
  auto api = LoadNvmlApi();
  return api ? Open(std::move(*api)) : nullptr;
}

std::unique_ptr<GpuEnergyMeter> GpuEnergyMeter::Open(NvmlApi api,
                                                     std::chrono::milliseconds period) {
  auto session = NvmlSession::Open(std::move(api));
  if (!session) return nullptr;
  const NvmlApi& nvml = (*session)->api();
  unsigned count = 0;
  if (NvmlCall(nvml.device_count, &count) != kNvmlSuccess) return nullptr;
  std::vector<NvmlDevice> counted, sampled;
  for (unsigned index = 0; index < std::min(count, kMaxGpus); ++index) {
    NvmlDevice gpu = nullptr;
    if (NvmlCall(nvml.device_by_index, index, &gpu) != kNvmlSuccess) continue;
    unsigned long long millijoules = 0;
    unsigned milliwatts = 0;
    if (NvmlCall(nvml.total_energy, gpu, &millijoules) == kNvmlSuccess) {
      counted.push_back(gpu);
    } else if (NvmlCall(nvml.power_usage, gpu, &milliwatts) == kNvmlSuccess) {
      sampled.push_back(gpu);
    }
  }
  if (counted.empty() && sampled.empty()) return nullptr;
  return std::make_unique<NvmlEnergyMeter>(std::move(*session), std::move(counted),
                                           std::move(sampled), period);
}

}  // namespace quire
