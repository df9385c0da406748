// EngineSession: one life of an engine, from its start to its confirmed death.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "fleet/engine_process.h"
#include "ipc/channel.h"
#include "ipc/message.h"

namespace quire {

// Owns the engine's process, the front end's half of the channel, and the schedule of signals that
// end the process where it does not end itself.
class EngineSession {
 public:
  using MessageHandler = std::function<void(Message)>;

  // To be called on the thread that calls Run: the engine dies with it.
  static Result<std::unique_ptr<EngineSession>> Start(const std::string& program,
                                                      const std::vector<std::string>& argv,
                                                      std::size_t ring_bytes, Duration kill_after);

  // Hands out the engine's messages on this thread until the engine is dead and all its messages
  // are read. Sleeps in between. A message that makes no sense is logged and skipped; an engine
  // that breaks the frames or the ring is killed.
  ExitStatus Run(const MessageHandler& on_message);
  // From within on_message: SIGKILL after this time, if it still lives then.
  void KillAfter(Duration time);

  // Thread-safe, never wait.
  void Send(std::string frame);
  std::size_t queued_bytes() const;
  void RequestStop(
      Duration grace);  // Shutdown message, SIGTERM after grace, SIGKILL after kill_after

  pid_t pid() const { return process_->pid(); }

 private:
  EngineSession(std::unique_ptr<FrontChannel> channel, std::unique_ptr<EngineProcess> process,
                UniqueFd wake, Duration kill_after);
  bool Drain(const MessageHandler& on_message);
  Status HandleFrames(const MessageHandler& on_message);
  void Wait(bool more);
  void StartStopping();
  void SignalWhenDue();
  int TimeoutMs() const;
  void Wake();

  const std::unique_ptr<FrontChannel> channel_;
  const std::unique_ptr<EngineProcess> process_;
  const UniqueFd wake_;
  const Duration kill_after_;

  mutable std::mutex mutex_;
  std::optional<Duration> stop_grace_;  // under mutex_, as is channel_->sender()

  // Of the thread in Run.
  FrameAssembler assembler_;
  std::string buffer_;
  bool broken_ = false;
  bool hung_up_ = false;
  bool may_have_ended_ = false;
  bool stopping_ = false;
  std::optional<TimePoint> term_at_;
  std::optional<TimePoint> kill_at_;
};

}  // namespace quire
