#include "cli/shutdown.h"

#include <pthread.h>
#include <unistd.h>

#include <csignal>
#include <utility>

namespace quire {
namespace {

sigset_t EndingSignals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : {SIGINT, SIGTERM, SIGUSR2}) sigaddset(&set, number);
  return set;
}

}  // namespace

ShutdownSignals::ShutdownSignals() {
  const sigset_t set = EndingSignals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  thread_ = std::thread([this] { Loop(); });
}

ShutdownSignals::~ShutdownSignals() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  pthread_kill(thread_.native_handle(), SIGUSR2);
  thread_.join();
}

void ShutdownSignals::Loop() {
  const sigset_t set = EndingSignals();
  while (true) {
    int number = 0;
    sigwait(&set, &number);
    std::function<void()> interrupt;
    {
      const std::lock_guard lock(mutex_);
      if (ending_) return;
      if (number == SIGUSR2) continue;
      if (raised_) ::_exit(1);  // the second: whoever sent it does not want to wait
      raised_ = true;
      interrupt = interrupt_;
      interrupting_ = true;
    }
    changed_.notify_all();
    if (interrupt) interrupt();
    {
      const std::lock_guard lock(mutex_);
      interrupting_ = false;
    }
    changed_.notify_all();
  }
}

void ShutdownSignals::WhileLoading(std::function<void()> interrupt) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return !interrupting_; });
  interrupt_ = std::move(interrupt);
}

void ShutdownSignals::Raise(int exit_code) {
  {
    const std::lock_guard lock(mutex_);
    if (raised_) return;
    raised_ = true;
    exit_code_ = exit_code;
  }
  changed_.notify_all();
}

void ShutdownSignals::Wait() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return raised_; });
}

bool ShutdownSignals::raised() const {
  const std::lock_guard lock(mutex_);
  return raised_;
}

int ShutdownSignals::exit_code() const {
  const std::lock_guard lock(mutex_);
  return exit_code_;
}

}  // namespace quire
