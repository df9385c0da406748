#include "server/http_connection_answer.h"

#include <exception>
#include <utility>

#include "base/log.h"

namespace quire {

// Callbacks are moved out and end behind the lock: what they hold may call back here when it goes.

void HttpAnswer::Respond(HttpResponse response) {
  std::function<void()> unneeded;
  const std::lock_guard lock(mutex_);
  if (closed_ || phase_ != Phase::kOpen) return;
  phase_ = Phase::kComplete;
  next_.response = std::move(response);
  unneeded.swap(on_closed_);
  Wake();
}

void HttpAnswer::StartStream(std::string content_type) {
  const std::lock_guard lock(mutex_);
  if (closed_ || phase_ != Phase::kOpen) return;
  phase_ = Phase::kStream;
  next_.stream_type = std::move(content_type);
  Wake();
}

void HttpAnswer::Write(std::string piece) {
  const std::lock_guard lock(mutex_);
  if (closed_ || phase_ != Phase::kStream || overflowed_ || piece.empty()) return;
  const std::size_t unsent = taken_bytes_ + next_.data.size();
  if (unsent > 0 && unsent + piece.size() > buffer_bytes_) {
    overflowed_ = true;
    next_ = Output();
    awake_ = false;  // this news does not wait for the write that is stuck
  } else if (next_.data.empty()) {
    next_.data = std::move(piece);
  } else {
    next_.data += piece;
  }
  Wake();
}

void HttpAnswer::EndStream() {
  std::function<void()> unneeded;
  const std::lock_guard lock(mutex_);
  // One that overflowed was cut off: its client never gets the end.
  if (closed_ || phase_ != Phase::kStream || overflowed_) return;
  phase_ = Phase::kComplete;
  next_.end = true;
  unneeded.swap(on_closed_);
  Wake();
}

void HttpAnswer::Abandon() {
  std::function<void()> unneeded;
  const std::lock_guard lock(mutex_);
  if (closed_ || phase_ == Phase::kComplete) return;
  phase_ = Phase::kComplete;
  next_.abandoned = true;
  unneeded.swap(on_closed_);
  Wake();
}

bool HttpAnswer::overflowed() const {
  const std::lock_guard lock(mutex_);
  return overflowed_;
}

bool HttpAnswer::closed() const {
  const std::lock_guard lock(mutex_);
  return closed_;
}

void HttpAnswer::OnClosed(std::function<void()> callback) {
  std::function<void()> replaced;
  {
    const std::lock_guard lock(mutex_);
    if (!cut_off_) {
      replaced = std::move(callback);
      if (!closed_ && phase_ != Phase::kComplete) replaced.swap(on_closed_);
      return;
    }
  }
  callback();
}

HttpAnswer::Output HttpAnswer::Take() {
  const std::lock_guard lock(mutex_);
  awake_ = false;
  taken_bytes_ = next_.data.size();
  Output taken = std::move(next_);
  next_ = Output();
  return taken;
}

void HttpAnswer::Sent() {
  const std::lock_guard lock(mutex_);
  taken_bytes_ = 0;
}

void HttpAnswer::Close() {
  std::function<void()> on_closed;
  std::function<void()> wake;
  {
    const std::lock_guard lock(mutex_);
    if (closed_) return;
    closed_ = true;
    cut_off_ = phase_ != Phase::kComplete;
    on_closed.swap(on_closed_);
    wake.swap(wake_);
    next_ = Output();
  }
  if (!on_closed) return;
  try {
    on_closed();
  } catch (const std::exception& error) {
    LogError("a callback for a client that left failed: {}", error.what());
  }
}

void HttpAnswer::Wake() {
  if (awake_ || !wake_) return;
  awake_ = true;
  wake_();
}

}  // namespace quire
