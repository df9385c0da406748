#include "fleet/engine_session.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <string_view>
#include <utility>

#include "base/log.h"
#include "ipc/codec.h"

namespace quire {
namespace {

constexpr std::size_t kReadBytes = std::size_t{64} << 10;
constexpr int kReadsAtOnce = 16;  // before the other events get their turn
constexpr int kPollWithoutPidfdMs = 250;
// From the end of the socket to SIGKILL: an exiting process closes its files a moment before it is
// dead.
constexpr Duration kHangUpGrace = std::chrono::seconds(2);

}  // namespace

Result<std::unique_ptr<EngineSession>> EngineSession::Start(const std::string& program,
                                                            const std::vector<std::string>& argv,
                                                            std::size_t ring_bytes,
                                                            Duration kill_after) {
  UniqueFd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake.valid()) return Error{ErrorKind::kInternal, "cannot make an eventfd", "", ""};
  auto channel = FrontChannel::Create(ring_bytes);
  if (!channel) return channel.error();
  auto process = EngineProcess::Start(program, argv, (*channel)->engine_fds());
  if (!process) return process.error();
  (*channel)->CloseEngineEnd();
  return std::unique_ptr<EngineSession>(
      new EngineSession(std::move(*channel), std::move(*process), std::move(wake), kill_after));
}

EngineSession::EngineSession(std::unique_ptr<FrontChannel> channel,
                             std::unique_ptr<EngineProcess> process, UniqueFd wake,
                             Duration kill_after)
    : channel_(std::move(channel)),
      process_(std::move(process)),
      wake_(std::move(wake)),
      kill_after_(kill_after),
      buffer_(kReadBytes, '\0') {}

void EngineSession::Send(std::string frame) {
  const std::lock_guard lock(mutex_);
  FrameSender& sender = channel_->sender();
  const bool waited = sender.has_queued();
  sender.Send(std::move(frame));
  if (!waited && sender.has_queued()) Wake();
}

std::size_t EngineSession::queued_bytes() const {
  const std::lock_guard lock(mutex_);
  return channel_->sender().queued_bytes();
}

void EngineSession::RequestStop(Duration grace) {
  const std::lock_guard lock(mutex_);
  stop_grace_ = grace;
  Wake();
}

void EngineSession::Wake() {
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(wake_.get(), &one, sizeof(one));
}

void EngineSession::KillAfter(Duration time) {
  const TimePoint at = Now() + time;
  kill_at_ = kill_at_ ? std::min(*kill_at_, at) : at;
}

ExitStatus EngineSession::Run(const MessageHandler& on_message) {
  while (true) {
    const bool more = Drain(on_message);
    Wait(more);
    StartStopping();
    SignalWhenDue();
    if (!may_have_ended_) continue;
    if (const auto status = process_->TryReap()) {
      while (Drain(on_message)) {
      }
      return *status;
    }
  }
}

// Reads what is there; true: there may be more.
bool EngineSession::Drain(const MessageHandler& on_message) {
  for (int i = 0; i < kReadsAtOnce && !broken_; ++i) {
    const auto count = channel_->reader().Read(buffer_.data(), buffer_.size());
    Status status;
    if (!count) {
      status = count.error();
    } else if (*count == 0) {
      return false;
    } else {
      assembler_.Append(std::string_view(buffer_).substr(0, *count));
      status = HandleFrames(on_message);
    }
    if (!status) {
      LogError("killing the engine: {}", status.error().message);
      broken_ = true;
      process_->Signal(SIGKILL);
    }
  }
  return !broken_;
}

Status EngineSession::HandleFrames(const MessageHandler& on_message) {
  while (true) {
    const auto frame = assembler_.Next();
    if (!frame) return frame.error();
    if (!frame->has_value()) return {};
    auto message = Decode(**frame);
    if (message) {
      on_message(std::move(*message));
    } else {
      LogError("skipped a message of the engine: {}", message.error().message);
    }
  }
}

void EngineSession::Wait(bool more) {
  // A broken ring is not looked at any more.
  const bool sleep = broken_ || (!more && channel_->reader().PrepareToSleep());
  short socket_events = 0;
  {
    const std::lock_guard lock(mutex_);
    if (channel_->sender().has_queued()) socket_events = POLLOUT;
  }
  pollfd fds[4] = {{process_->pidfd(), POLLIN, 0},
                   {hung_up_ ? -1 : channel_->socket(), socket_events, 0},
                   {channel_->doorbell(), POLLIN, 0},
                   {wake_.get(), POLLIN, 0}};
  const int ready = ::poll(fds, 4, sleep ? TimeoutMs() : 0);
  channel_->reader().WakeUp();
  may_have_ended_ = process_->pidfd() < 0;
  if (ready <= 0) return;
  if ((fds[0].revents & POLLIN) != 0) may_have_ended_ = true;
  if ((fds[1].revents & (POLLHUP | POLLERR)) != 0) {
    hung_up_ = true;
    KillAfter(kHangUpGrace);
  } else if ((fds[1].revents & POLLOUT) != 0) {
    const std::lock_guard lock(mutex_);
    channel_->sender().Flush();
  }
  if (fds[3].revents != 0) {
    std::uint64_t count = 0;
    [[maybe_unused]] const auto got = ::read(wake_.get(), &count, sizeof(count));
  }
}

void EngineSession::StartStopping() {
  if (stopping_) return;
  const std::lock_guard lock(mutex_);
  if (!stop_grace_) return;
  stopping_ = true;
  if (auto frame = Encode(Message(ShutdownMessage{}))) channel_->sender().Send(std::move(*frame));
  term_at_ = Now() + *stop_grace_;
}

void EngineSession::SignalWhenDue() {
  const TimePoint now = Now();
  if (term_at_ && now >= *term_at_) {
    term_at_.reset();
    process_->Signal(SIGTERM);
    KillAfter(kill_after_);
  }
  if (kill_at_ && now >= *kill_at_) {
    kill_at_.reset();
    LogWarning("the engine (process {}) does not end by itself: killing it", process_->pid());
    process_->Signal(SIGKILL);
  }
}

int EngineSession::TimeoutMs() const {
  std::optional<TimePoint> next = term_at_;
  if (kill_at_ && (!next || *kill_at_ < *next)) next = kill_at_;
  int timeout = process_->pidfd() < 0 ? kPollWithoutPidfdMs : -1;
  if (next) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(*next - Now()).count();
    const int until = static_cast<int>(std::clamp<std::int64_t>(left, 0, 3'600'000));
    timeout = timeout < 0 ? until : std::min(timeout, until);
  }
  return timeout;
}

}  // namespace quire
