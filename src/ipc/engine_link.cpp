#include "ipc/engine_link.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <variant>

#include "base/log.h"
#include "ipc/codec.h"

namespace quire {
namespace {

constexpr auto kLoadingInterval = std::chrono::milliseconds(50);
constexpr std::size_t kMaxFailureText = 4096;

Error Fault(std::string what) { return {ErrorKind::kInternal, std::move(what), "", ""}; }

// The kernel remembers who made the socket pair: our parent, unless it has died before the death
// signal was asked for. Then we have another parent now, and no signal will come.
Status DieWithParent(int socket) {
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) {
    return Fault(fmt::format("cannot ask for the death signal: {}", std::strerror(errno)));
  }
  ucred peer{};
  socklen_t size = sizeof(peer);
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) {
    return Fault("--ipc-fds: the first is no connected socket");
  }
  if (::getppid() != peer.pid) return Fault("the front end that started this engine is gone");
  return {};
}

}  // namespace

// Owns all that EngineLink promises.
class EngineLink::Impl {
 public:
  Impl(UniqueFd socket, UniqueFd doorbell, UniqueFd space, UniqueFd stop, RingMemory memory,
       PeerHandlers handlers)
      : socket_(std::move(socket)),
        doorbell_(std::move(doorbell)),
        space_(std::move(space)),
        stop_(std::move(stop)),
        memory_(std::move(memory)),
        peer_handlers_(std::move(handlers)),
        writer_(memory_, RingBells{doorbell_.get(), space_.get()}) {
    thread_ = std::thread([this] { Receive(); });
  }

  ~Impl() {
    stopping_ = true;
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto written = ::write(stop_.get(), &one, sizeof(one));
    thread_.join();
  }

  void SetRequestHandlers(RequestHandlers handlers) {
    const std::lock_guard lock(handlers_mutex_);
    request_handlers_ = std::make_shared<const RequestHandlers>(std::move(handlers));
  }

  Status Write(const Result<std::string>& frame) {
    if (!frame) return frame.error();
    const std::lock_guard lock(write_mutex_);
    return writer_.Write(*frame, socket_.get());
  }

  // True at most every 50 ms.
  bool LoadingIsDue(TimePoint now) {
    const std::lock_guard lock(handlers_mutex_);
    if (last_loading_ && now - *last_loading_ < kLoadingInterval) return false;
    last_loading_ = now;
    return true;
  }

 private:
  void Receive() {
    const Status end = ReceiveUntilEnd();
    if (stopping_) return;
    if (!end) LogError("lost the front end: {}", end.error().message);
    if (peer_handlers_.on_peer_gone) peer_handlers_.on_peer_gone();
  }

  // OK: the peer has closed, or we are to stop.
  Status ReceiveUntilEnd() {
    FrameAssembler assembler;
    std::string buffer(std::size_t{64} << 10, '\0');
    while (true) {
      pollfd fds[2] = {{socket_.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}};
      if (::poll(fds, 2, -1) < 0 && errno != EINTR) return Fault(std::strerror(errno));
      if (stopping_) return {};
      const ssize_t count = ::recv(socket_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
      if (count == 0) return {};
      if (count < 0) {
        if (errno == EAGAIN || errno == EINTR) continue;
        if (errno == ECONNRESET) return {};
        return Fault(std::strerror(errno));
      }
      assembler.Append(std::string_view(buffer).substr(0, static_cast<std::size_t>(count)));
      QUIRE_RETURN_IF_ERROR(Handle(assembler));
    }
  }

  Status Handle(FrameAssembler& assembler) {
    while (true) {
      const auto frame = assembler.Next();
      if (!frame) return frame.error();
      if (!frame->has_value()) return {};
      auto message = Decode(**frame);
      if (message) {
        Handle(std::move(*message));
      } else {
        LogError("skipped a message of the front end: {}", message.error().message);
      }
    }
  }

  void Handle(Message message) {
    std::shared_ptr<const RequestHandlers> handlers;
    {
      const std::lock_guard lock(handlers_mutex_);
      handlers = request_handlers_;
    }
    if (std::holds_alternative<ShutdownMessage>(message)) {
      if (peer_handlers_.on_shutdown) peer_handlers_.on_shutdown();
    } else if (handlers == nullptr) {
      LogError("skipped a message of the front end: the engine is not ready");
    } else if (auto* request = std::get_if<Request>(&message)) {
      handlers->on_submit(std::move(*request));
    } else if (const auto* cancel = std::get_if<CancelMessage>(&message)) {
      handlers->on_cancel(cancel->id);
    } else {
      LogError("skipped a message of the front end: its type is for the other direction");
    }
  }

  UniqueFd socket_;
  UniqueFd doorbell_;
  UniqueFd space_;
  UniqueFd stop_;
  RingMemory memory_;
  const PeerHandlers peer_handlers_;
  std::mutex write_mutex_;
  RingWriter writer_;  // under write_mutex_
  std::mutex handlers_mutex_;
  std::shared_ptr<const RequestHandlers> request_handlers_;  // under handlers_mutex_
  std::optional<TimePoint> last_loading_;                    // under handlers_mutex_
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
};

EngineLink::EngineLink(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
EngineLink::~EngineLink() = default;

Result<std::unique_ptr<EngineLink>> EngineLink::Open(const ChannelFds& fds, PeerHandlers handlers) {
  for (const int fd : {fds.socket, fds.ring, fds.doorbell, fds.space}) {
    if (::fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) {
      return ConfigFault(fmt::format("--ipc-fds: {} is no open file descriptor", fd));
    }
  }
  UniqueFd socket(fds.socket);
  UniqueFd doorbell(fds.doorbell);
  UniqueFd space(fds.space);
  QUIRE_RETURN_IF_ERROR(DieWithParent(socket.get()));
  auto memory = RingMemory::Open(UniqueFd(fds.ring));
  if (!memory) return memory.error();
  UniqueFd stop(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!stop.valid()) return Fault("cannot make an eventfd");
  return std::unique_ptr<EngineLink>(new EngineLink(
      std::make_unique<Impl>(std::move(socket), std::move(doorbell), std::move(space),
                             std::move(stop), std::move(*memory), std::move(handlers))));
}

Status EngineLink::SendLoading(const LoadProgress& progress) {
  const bool end = progress.total_bytes > 0 && progress.done_bytes >= progress.total_bytes;
  if (!end && !impl_->LoadingIsDue(Now())) return {};
  return impl_->Write(Encode(Message(progress)));
}

Status EngineLink::SendReady(const EngineInfo& info, RequestHandlers handlers) {
  impl_->SetRequestHandlers(std::move(handlers));
  return impl_->Write(Encode(Message(info)));
}

Status EngineLink::SendFailed(int exit_code, std::string_view message) {
  return impl_->Write(Encode(Message(LoadFailure{
      std::clamp(exit_code, 0, 255), std::string(message.substr(0, kMaxFailureText))})));
}

Status EngineLink::SendReport(const EngineReport& report) {
  const auto whole = Encode(report);
  if (whole) return impl_->Write(whole);
  for (const RequestOutput& output : report.outputs) {
    EngineReport part{report.stats, {output}};
    auto frame = Encode(part);
    if (!frame) {
      RequestOutput fault;
      fault.id = output.id;
      fault.output_index = output.output_index;
      fault.finish_reason = FinishReason::kError;
      fault.error = "the output is too large";
      part.outputs[0] = std::move(fault);
      frame = Encode(part);
    }
    QUIRE_RETURN_IF_ERROR(impl_->Write(frame));
  }
  return {};
}

}  // namespace quire
