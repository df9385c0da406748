// BenchSession: what a benchmark on a terminal is made of: Ctrl-C, lines about what goes on, and
// the progress bar.
#pragma once

#include <atomic>
#include <string>

#include "base/clock.h"
#include "bench/progress_bar.h"
#include "bench/serve_bench.h"
#include "cli/shutdown.h"

namespace quire {

// Owns the signals and the bar while a benchmark runs. The first Ctrl-C sets stop(), the second
// ends the program.
class BenchSession {
 public:
  explicit BenchSession(bool bar);

  ServeBenchHooks Hooks();
  // In front of the bar; names the run.
  void Name(std::string name) { name_ = std::move(name); }
  void Say(const std::string& line);  // on stderr
  const std::atomic<bool>& stop() const { return stop_; }

 private:
  void Tick(const ServeBenchTick& tick);

  std::atomic<bool> stop_ = false;
  ProgressBar bar_;
  std::string name_;
  ShutdownSignals signals_;  // its thread ends before what it sets
};

}  // namespace quire
