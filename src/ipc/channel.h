// What joins a front end with one engine: a socket for requests, a ring for reports.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "ipc/frame.h"
#include "ipc/ring.h"
#include "ipc/unique_fd.h"

namespace quire {

// File descriptor numbers, as the engine finds them: --ipc-fds=SOCKET,RING,DOORBELL,SPACE.
struct ChannelFds {
  int socket = -1;
  int ring = -1;
  int doorbell = -1;
  int space = -1;
};

std::string FormatChannelFds(const ChannelFds& fds);        // "3,4,5,6"
Result<ChannelFds> ParseChannelFds(std::string_view text);  // an error names --ipc-fds

// The front end's half of a channel. Owns its end of an AF_UNIX stream socket pair, the ring and
// the bells; all are close-on-exec, the engine gets its own copies by EngineProcess. The socket
// carries frames from the front end to the engine and tells each of the other's end; the ring
// carries frames from the engine.
class FrontChannel {
 public:
  static Result<std::unique_ptr<FrontChannel>> Create(std::size_t ring_bytes);

  // What the engine must be given; the socket is its end, until CloseEngineEnd.
  ChannelFds engine_fds() const;
  // After the engine was started: from then on its death is seen as a hang-up.
  void CloseEngineEnd() { engine_socket_.Reset(); }

  int socket() const { return socket_.get(); }
  int doorbell() const { return doorbell_.get(); }
  FrameSender& sender() { return sender_; }
  RingReader& reader() { return reader_; }

 private:
  FrontChannel(UniqueFd socket, UniqueFd engine_socket, UniqueFd doorbell, UniqueFd space,
               RingMemory memory);

  UniqueFd socket_;
  UniqueFd engine_socket_;
  UniqueFd doorbell_;
  UniqueFd space_;
  RingMemory memory_;
  FrameSender sender_;
  RingReader reader_;
};

}  // namespace quire
