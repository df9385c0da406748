#include "fleet/process_gateway.h"

#include <fmt/core.h>

#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>
#include <unordered_map>
#include <utility>
#include <variant>

#include "base/log.h"
#include "fleet/engine_session.h"
#include "ipc/codec.h"

namespace quire {
namespace {

constexpr Duration kExitAfterFailure = std::chrono::seconds(2);

// What a client is told, by the engine's state; nothing from inside the server goes into it.
Error Away(EngineState state) {
  const auto unavailable = [](const char* message, const char* code) {
    return Error{ErrorKind::kUnavailable, message, "", code};
  };
  switch (state) {
    case EngineState::kLoading:
      return unavailable("the model is being loaded", "engine_loading");
    case EngineState::kRestarting:
      return unavailable("the engine failed; it is being restarted", "engine_restarting");
    case EngineState::kDraining:
      return unavailable("the server is shutting down", "server_draining");
    case EngineState::kFailed:
    case EngineState::kReady:
      break;
  }
  return unavailable("the engine failed", "engine_failed");
}

ErrorKind KindOfExit(int exit_code) {
  switch (exit_code) {
    case 2:
      return ErrorKind::kConfig;
    case 3:
      return ErrorKind::kModel;
    case 4:
      return ErrorKind::kDevice;
    default:
      return ErrorKind::kInternal;
  }
}

// How a life of the engine ended.
struct Death {
  std::string how;  // for the log and the operator
  ErrorKind kind = ErrorKind::kInternal;
};

}  // namespace

// Owns all that ProcessGateway promises.
class ProcessGateway::Impl {
 public:
  explicit Impl(ProcessGatewayOptions options)
      : options_(std::move(options)), policy_(options_.restart) {
    thread_ = std::thread([this] { Run(); });
  }

  Result<EngineInfo> WaitReady(const ProgressHandler& on_progress);
  void Stop(Duration grace);
  Status Submit(Request request, OutputHandler on_output);
  void Cancel(RequestId id);
  void OnStats(StatsHandler handler) {
    const std::lock_guard lock(mutex_);
    on_stats_ = std::make_shared<const StatsHandler>(std::move(handler));
  }

  // A copy of what the mutex guards.
  template <class Member>
  auto Get(Member Impl::*member) const {
    const std::lock_guard lock(mutex_);
    return this->*member;
  }
  std::size_t num_unfinished() const {
    const std::lock_guard lock(mutex_);
    return handlers_.size();
  }
  pid_t engine_pid() const {
    const std::lock_guard lock(mutex_);
    return session_ == nullptr ? 0 : session_->pid();
  }

 private:
  friend class ProcessGateway;
  using Handlers = std::unordered_map<RequestId, std::shared_ptr<const OutputHandler>>;

  void Run();
  Death RunOnce();
  std::optional<Duration> AfterDeath(const Death& death);
  bool Pause(Duration wait);
  void OnMessage(Message message);
  void OnProgress(const LoadProgress& progress);
  void OnReady(EngineInfo info);
  void OnReport(EngineReport report);
  void TellState(EngineState state) const {
    if (options_.on_state) options_.on_state(state);
  }

  const ProcessGatewayOptions options_;

  // Of the gateway's thread.
  RestartPolicy policy_;
  std::optional<LoadFailure> failure_;  // of the engine that runs now

  mutable std::mutex mutex_;  // guards what follows; never held while a handler runs
  std::condition_variable changed_;
  EngineState state_ = EngineState::kLoading;
  std::unique_ptr<EngineSession> session_;  // replaced by the gateway's thread only
  Handlers handlers_;
  EngineInfo info_;
  EngineStats stats_;
  std::shared_ptr<const StatsHandler> on_stats_;
  bool ever_ready_ = false;
  std::optional<Error> fatal_;  // why it never became ready
  LoadProgress progress_;
  std::uint64_t num_progress_ = 0;
  std::uint64_t restarts_ = 0;
  std::optional<Duration> stop_grace_;

  std::mutex join_mutex_;
  std::thread thread_;
};

void ProcessGateway::Impl::Run() {
  while (true) {
    const Death death = RunOnce();
    const auto wait = AfterDeath(death);
    if (!wait || !Pause(*wait)) break;
    const std::lock_guard lock(mutex_);
    ++restarts_;
  }
  const std::lock_guard lock(mutex_);
  if (!ever_ready_ && !fatal_) fatal_ = Away(EngineState::kDraining);
  changed_.notify_all();
}

Death ProcessGateway::Impl::RunOnce() {
  failure_.reset();
  auto started = EngineSession::Start(options_.program, options_.argv, options_.ring_bytes,
                                      options_.kill_after);
  if (!started) return {started.error().message, ErrorKind::kInternal};
  EngineSession* session = started->get();
  {
    const std::lock_guard lock(mutex_);
    session_ = std::move(*started);
    if (stop_grace_) session_->RequestStop(*stop_grace_);
  }
  const ExitStatus status =
      session->Run([this](Message message) { OnMessage(std::move(message)); });
  const int exit_code = status.exit_code.value_or(failure_ ? failure_->exit_code : 1);
  Death death{"the engine " + Describe(status), KindOfExit(exit_code)};
  if (failure_) death.how = failure_->message;
  return death;
}

// Tells everybody; how long to wait before the next start, none: there is none.
std::optional<Duration> ProcessGateway::Impl::AfterDeath(const Death& death) {
  std::optional<Duration> wait = policy_.OnDeath(Now());
  Handlers unfinished;
  std::unique_ptr<EngineSession> session;  // buried without the lock
  std::shared_ptr<const StatsHandler> on_stats;
  EngineState state = EngineState::kRestarting;
  bool changed = false;
  bool told_owner = false;
  {
    const std::lock_guard lock(mutex_);
    if (stop_grace_) {
      state = EngineState::kDraining;
      wait.reset();
    } else if (!ever_ready_ && death.kind != ErrorKind::kInternal) {
      wait.reset();
    }
    if (!wait && !stop_grace_) {
      state = EngineState::kFailed;
      told_owner = !ever_ready_;  // by WaitReady
      if (told_owner) fatal_ = Error{death.kind, death.how, "", ""};
    }
    changed = std::exchange(state_, state) != state;
    stats_ = EngineStats();
    session = std::move(session_);
    unfinished.swap(handlers_);
    on_stats = on_stats_;
  }
  changed_.notify_all();
  if (state == EngineState::kRestarting) {
    LogError("{}; {} unfinished requests; restarting in {:.1f} s", death.how, unfinished.size(),
             Seconds(*wait));
  } else if (state == EngineState::kFailed && !told_owner) {
    LogError("{}; giving up", death.how);
  }
  if (on_stats != nullptr) (*on_stats)(EngineStats());
  for (const auto& [id, handler] : unfinished) {
    RequestOutput output;
    output.id = id;
    output.finish_reason = FinishReason::kError;
    output.error = Away(state).message;
    (*handler)(std::move(output));
  }
  if (changed) TellState(state);
  return wait;
}

// False: to stop.
bool ProcessGateway::Impl::Pause(Duration wait) {
  std::unique_lock lock(mutex_);
  return !changed_.wait_for(lock, wait, [this] { return stop_grace_.has_value(); });
}

void ProcessGateway::Impl::OnMessage(Message message) {
  if (auto* report = std::get_if<EngineReport>(&message)) {
    OnReport(std::move(*report));
  } else if (auto* info = std::get_if<EngineInfo>(&message)) {
    OnReady(std::move(*info));
  } else if (const auto* progress = std::get_if<LoadProgress>(&message)) {
    OnProgress(*progress);
  } else if (auto* failure = std::get_if<LoadFailure>(&message)) {
    failure_ = std::move(*failure);
    session_->KillAfter(kExitAfterFailure);
  } else {
    LogError("skipped a message of the engine: its type is for the other direction");
  }
}

void ProcessGateway::Impl::OnProgress(const LoadProgress& progress) {
  {
    const std::lock_guard lock(mutex_);
    progress_ = progress;
    ++num_progress_;
  }
  changed_.notify_all();
}

void ProcessGateway::Impl::OnReady(EngineInfo info) {
  policy_.OnReady(Now());
  bool again = false;
  {
    const std::lock_guard lock(mutex_);
    info_ = std::move(info);
    again = std::exchange(ever_ready_, true);
    if (stop_grace_) return;
    state_ = EngineState::kReady;
  }
  changed_.notify_all();
  if (again) LogInfo("the engine is back");
  TellState(EngineState::kReady);
}

void ProcessGateway::Impl::OnReport(EngineReport report) {
  std::shared_ptr<const StatsHandler> on_stats;
  {
    const std::lock_guard lock(mutex_);
    stats_ = report.stats;
    on_stats = on_stats_;
  }
  if (on_stats != nullptr) (*on_stats)(report.stats);
  for (RequestOutput& output : report.outputs) {
    std::shared_ptr<const OutputHandler> handler;
    {
      const std::lock_guard lock(mutex_);
      const auto it = handlers_.find(output.id);
      if (it == handlers_.end()) continue;  // cancelled
      handler = it->second;
      if (output.finish_reason != FinishReason::kNone) handlers_.erase(it);
    }
    (*handler)(std::move(output));
  }
}

Result<EngineInfo> ProcessGateway::Impl::WaitReady(const ProgressHandler& on_progress) {
  std::unique_lock lock(mutex_);
  std::uint64_t seen = 0;
  while (!ever_ready_ && !fatal_) {
    changed_.wait(lock, [&] { return ever_ready_ || fatal_ || num_progress_ != seen; });
    if (num_progress_ == seen) continue;
    seen = num_progress_;
    const LoadProgress progress = progress_;
    lock.unlock();
    if (on_progress) on_progress(progress);
    lock.lock();
  }
  if (!ever_ready_) return *fatal_;
  return info_;
}

void ProcessGateway::Impl::Stop(Duration grace) {
  bool told = false;
  {
    const std::lock_guard lock(mutex_);
    if (!stop_grace_) {
      stop_grace_ = grace;
      told = state_ != EngineState::kFailed;
      if (told) state_ = EngineState::kDraining;
      if (session_ != nullptr) session_->RequestStop(grace);
    }
  }
  changed_.notify_all();
  if (told) TellState(EngineState::kDraining);
  const std::lock_guard lock(join_mutex_);
  if (thread_.joinable()) thread_.join();
}

Status ProcessGateway::Impl::Submit(Request request, OutputHandler on_output) {
  const RequestId id = request.id;
  auto frame = Encode(request);
  if (!frame) return InvalidRequest("the request is too large", "");
  auto handler = std::make_shared<const OutputHandler>(std::move(on_output));
  const std::lock_guard lock(mutex_);
  if (state_ != EngineState::kReady) return Away(state_);
  if (session_->queued_bytes() + frame->size() > options_.max_queued_bytes) {
    return Error{ErrorKind::kOverloaded, "too many requests are waiting", "", "queue_full"};
  }
  if (!handlers_.emplace(id, std::move(handler)).second) {
    return Error{ErrorKind::kInternal, "the request's id is in use", "", ""};
  }
  session_->Send(std::move(*frame));
  return {};
}

void ProcessGateway::Impl::Cancel(RequestId id) {
  Handlers::node_type node;  // what the handler holds is destroyed without the lock
  const std::lock_guard lock(mutex_);
  node = handlers_.extract(id);
  if (node.empty() || session_ == nullptr) return;
  if (auto frame = Encode(Message(CancelMessage{id}))) session_->Send(std::move(*frame));
}

ProcessGateway::ProcessGateway(ProcessGatewayOptions options)
    : impl_(std::make_unique<Impl>(std::move(options))) {}
ProcessGateway::~ProcessGateway() { Stop(Duration::zero()); }

Result<EngineInfo> ProcessGateway::WaitReady(const ProgressHandler& on_progress) {
  return impl_->WaitReady(on_progress);
}
void ProcessGateway::Stop(Duration grace) { impl_->Stop(grace); }
Status ProcessGateway::Submit(Request request, OutputHandler on_output) {
  return impl_->Submit(std::move(request), std::move(on_output));
}
void ProcessGateway::Cancel(RequestId id) { impl_->Cancel(id); }
EngineState ProcessGateway::state() const { return impl_->Get(&Impl::state_); }
EngineInfo ProcessGateway::info() const { return impl_->Get(&Impl::info_); }
EngineStats ProcessGateway::stats() const { return impl_->Get(&Impl::stats_); }
void ProcessGateway::OnStats(StatsHandler handler) { impl_->OnStats(std::move(handler)); }
std::uint64_t ProcessGateway::restarts() const { return impl_->Get(&Impl::restarts_); }
std::size_t ProcessGateway::num_unfinished() const { return impl_->num_unfinished(); }
pid_t ProcessGateway::engine_pid() const { return impl_->engine_pid(); }

}  // namespace quire
