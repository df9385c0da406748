// Frames over byte streams: cutting what was received, and sending without waiting.
#pragma once

#include <cstddef>
#include <deque>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace quire {

// Owns the bytes that were received and are not a whole frame yet.
class FrameAssembler {
 public:
  void Append(std::string_view bytes);
  // The next whole frame, valid until the next call of any member; none: more bytes are needed. An
  // error: the stream is not in frames and cannot be read any more.
  Result<std::optional<std::string_view>> Next();

 private:
  std::string bytes_;
  std::size_t begin_ = 0;  // of what Next has not handed out
};

// Owns the frames that a connected stream socket has not taken yet; does not own the socket. Never
// waits.
class FrameSender {
 public:
  explicit FrameSender(int socket) : socket_(socket) {}

  // Sends what the socket takes now and keeps the rest for Flush. After the peer has gone frames
  // are dropped: who watches the socket learns of that.
  void Send(std::string frame);
  // To be called when the socket can be written again.
  void Flush();
  bool has_queued() const { return !queue_.empty(); }
  std::size_t queued_bytes() const { return queued_bytes_; }

 private:
  int socket_;
  std::deque<std::string> queue_;
  std::size_t sent_ = 0;  // of the first frame
  std::size_t queued_bytes_ = 0;
  bool broken_ = false;
};

}  // namespace quire
