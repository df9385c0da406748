// ShutdownSignals: SIGINT and SIGTERM as events, and the reasons of our own to stop.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

namespace quire {

// Owns the thread that waits for the two signals, which are blocked in every thread that starts
// after it. The first asks for a clean end, the second ends the process at once.
class ShutdownSignals {
 public:
  ShutdownSignals();
  ~ShutdownSignals();
  ShutdownSignals(const ShutdownSignals&) = delete;
  ShutdownSignals& operator=(const ShutdownSignals&) = delete;

  // What the first signal does besides waking Wait, until it is replaced; the old one is not
  // running any more when this returns.
  void WhileLoading(std::function<void()> interrupt);
  void Raise(int exit_code);  // stop for another reason than a signal
  void Wait();
  bool raised() const;
  int exit_code() const;  // 0 after a signal

 private:
  void Loop();

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::function<void()> interrupt_;
  bool raised_ = false;
  bool interrupting_ = false;
  bool ending_ = false;
  int exit_code_ = 0;
  std::thread thread_;
};

}  // namespace quire
