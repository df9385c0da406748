#include "ipc/channel.h"

#include <fmt/core.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <utility>

namespace quire {
namespace {

Error SystemFault(const char* what) {
  return {ErrorKind::kInternal, fmt::format("{}: {}", what, std::strerror(errno)), "", ""};
}

}  // namespace

std::string FormatChannelFds(const ChannelFds& fds) {
  return fmt::format("{},{},{},{}", fds.socket, fds.ring, fds.doorbell, fds.space);
}

Result<ChannelFds> ParseChannelFds(std::string_view text) {
  const Error error =
      ConfigFault("--ipc-fds must be four file descriptors: SOCKET,RING,DOORBELL,SPACE");
  int numbers[4] = {};
  const char* at = text.data();
  const char* const end = at + text.size();
  for (int i = 0; i < 4; ++i) {
    if (i > 0 && (at == end || *at++ != ',')) return error;
    const auto [next, fault] = std::from_chars(at, end, numbers[i]);
    if (fault != std::errc() || numbers[i] < 0) return error;
    at = next;
  }
  if (at != end) return error;
  return ChannelFds{numbers[0], numbers[1], numbers[2], numbers[3]};
}

FrontChannel::FrontChannel(UniqueFd socket, UniqueFd engine_socket, UniqueFd doorbell,
                           UniqueFd space, RingMemory memory)
    : socket_(std::move(socket)),
      engine_socket_(std::move(engine_socket)),
      doorbell_(std::move(doorbell)),
      space_(std::move(space)),
      memory_(std::move(memory)),
      sender_(socket_.get()),
      reader_(memory_, RingBells{doorbell_.get(), space_.get()}) {}

Result<std::unique_ptr<FrontChannel>> FrontChannel::Create(std::size_t ring_bytes) {
  int sockets[2] = {-1, -1};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) != 0) {
    return SystemFault("cannot make a socket pair");
  }
  UniqueFd ours(sockets[0]);
  UniqueFd theirs(sockets[1]);
  UniqueFd doorbell(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  UniqueFd space(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!doorbell.valid() || !space.valid()) return SystemFault("cannot make an eventfd");
  auto memory = RingMemory::Create(ring_bytes);
  if (!memory) return memory.error();
  return std::unique_ptr<FrontChannel>(new FrontChannel(std::move(ours), std::move(theirs),
                                                        std::move(doorbell), std::move(space),
                                                        std::move(*memory)));
}

ChannelFds FrontChannel::engine_fds() const {
  return {engine_socket_.get(), memory_.fd(), doorbell_.get(), space_.get()};
}

}  // namespace quire
