#include "ipc/frame.h"

#include <sys/socket.h>

#include <cerrno>
#include <utility>

#include "ipc/codec.h"

namespace quire {
namespace {

constexpr std::size_t kKeepBytes = std::size_t{1} << 20;  // more than this is given back when empty

}  // namespace

void FrameAssembler::Append(std::string_view bytes) {
  if (begin_ == bytes_.size()) {
    bytes_.clear();
    begin_ = 0;
    if (bytes_.capacity() > kKeepBytes) bytes_.shrink_to_fit();
  } else if (begin_ > bytes_.size() / 2) {
    bytes_.erase(0, begin_);
    begin_ = 0;
  }
  bytes_.append(bytes);
}

Result<std::optional<std::string_view>> FrameAssembler::Next() {
  const std::string_view rest = std::string_view(bytes_).substr(begin_);
  if (rest.size() < kFrameHeaderBytes) return std::optional<std::string_view>();
  const auto size = FrameBytes(rest);
  if (!size) return size.error();
  if (rest.size() < *size) return std::optional<std::string_view>();
  begin_ += *size;
  return std::optional<std::string_view>(rest.substr(0, *size));
}

void FrameSender::Send(std::string frame) {
  if (broken_) return;
  queued_bytes_ += frame.size();
  queue_.push_back(std::move(frame));
  if (queue_.size() == 1) Flush();
}

void FrameSender::Flush() {
  while (!queue_.empty()) {
    const std::string& frame = queue_.front();
    const ssize_t count =
        ::send(socket_, frame.data() + sent_, frame.size() - sent_, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (count < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN || errno == EWOULDBLOCK) return;
      broken_ = true;
      queue_.clear();
      sent_ = queued_bytes_ = 0;
      return;
    }
    sent_ += static_cast<std::size_t>(count);
    queued_bytes_ -= static_cast<std::size_t>(count);
    if (sent_ == frame.size()) {
      queue_.pop_front();
      sent_ = 0;
    }
  }
}

}  // namespace quire
