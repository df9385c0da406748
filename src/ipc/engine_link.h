// EngineLink: the engine's half of a channel.
//
//   auto fds = ParseChannelFds(flag);                      // --ipc-fds=3,4,5,6
//   auto link = EngineLink::Open(*fds, {on_shutdown, on_peer_gone});   // before loading
//   … load, with link->SendLoading(…); where it fails link->SendFailed(code, message) and exit with
//   that code … Engine engine(options, executor, [&](EngineReport r) { (void)link->SendReport(r);
//   }); link->SendReady(engine.info(), {[&](Request r) { engine.Submit(std::move(r)); },
//                                   [&](RequestId id) { engine.Cancel(id); }});
#pragma once

#include <functional>
#include <memory>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"
#include "ipc/channel.h"
#include "ipc/message.h"

namespace quire {

// Owns the engine's socket, ring and bells, and a thread that receives. Destroy it after the engine
// whose reports it sends, on another thread than its own.
class EngineLink {
 public:
  // Both are called on the receiving thread, from Open on, on_peer_gone at most once and as the
  // last. It should _exit: nobody is left to work for, and the process must be gone within 2 s.
  struct PeerHandlers {
    std::function<void()> on_shutdown;   // finish and exit with code 0; SIGTERM comes a while after
    std::function<void()> on_peer_gone;  // the front end has died, or speaks another language
  };
  // Called on the receiving thread, from SendReady on.
  struct RequestHandlers {
    std::function<void(Request)> on_submit;
    std::function<void(RequestId)> on_cancel;
  };

  // Takes the descriptors over and makes them close-on-exec; starts the thread; has this process
  // killed when the front end's thread that started it ends. An error where the front end is
  // already gone.
  static Result<std::unique_ptr<EngineLink>> Open(const ChannelFds& fds, PeerHandlers handlers);
  ~EngineLink();
  EngineLink(const EngineLink&) = delete;
  EngineLink& operator=(const EngineLink&) = delete;

  // Thread-safe. They wait while the ring is full and the front end lives. An error: it is gone, so
  // on_peer_gone comes or came; callers need not do anything.
  Status SendLoading(
      const LoadProgress& progress);  // dropped within 50 ms of the last, but for the end
  Status SendReady(const EngineInfo& info, RequestHandlers handlers);
  Status SendFailed(int exit_code, std::string_view message);
  // A report beyond the largest message travels in several; an output beyond it ends its request.
  Status SendReport(const EngineReport& report);

 private:
  class Impl;
  explicit EngineLink(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace quire
