// GpuEnergyMeter: what this host's GPUs consume, by NVML.
#pragma once

#include <chrono>
#include <memory>

#include "topology/nvml.h"

namespace quire {

// Owns a session with NVML, which is opened at run time.
class GpuEnergyMeter {
 public:
  static std::unique_ptr<GpuEnergyMeter> Open();  // null where there is no NVML or no GPU
  // Over an NVML of the caller's. GPUs without an energy counter have their power sampled every
  // `period`.
  static std::unique_ptr<GpuEnergyMeter> Open(
      NvmlApi api, std::chrono::milliseconds period = std::chrono::milliseconds(50));
  virtual ~GpuEnergyMeter() = default;
  virtual double Joules() = 0;  // of all GPUs since some fixed time; differences count
  virtual double Watts() = 0;   // of all GPUs now
};

// Energy as the sum of power over time, by trapezoids between samples.
class PowerIntegral {
 public:
  void Add(double seconds, double watts);
  double joules() const { return joules_; }

 private:
  bool started_ = false;
  double seconds_ = 0, watts_ = 0;  // of the last sample
  double joules_ = 0;
};

}  // namespace quire
