#include "bench/load_loop.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace quire {
namespace {

constexpr int kBatch = 64;   // events of one look at the clock
constexpr int kBurst = 8;    // requests that are sent before answers are looked at again
constexpr int kTickMs = 20;  // how often `stop` and timeouts are looked at
constexpr int kItlsAhead = 4096;
constexpr std::size_t kReadBytes = 64 << 10;

}  // namespace

LoadLoop::LoadLoop(LoadShared& shared) : shared_(shared), buffer_(kReadBytes) {}

LoadLoop::~LoadLoop() {
  for (const int fd : {epoll_, timer_, mail_}) {
    if (fd >= 0) ::close(fd);
  }
}

Status LoadLoop::Open() {
  epoll_ = ::epoll_create1(EPOLL_CLOEXEC);
  timer_ = ::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  mail_ = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  for (int* fd : {&timer_, &mail_}) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.ptr = fd;
    if (epoll_ < 0 || *fd < 0 || ::epoll_ctl(epoll_, EPOLL_CTL_ADD, *fd, &event) != 0) {
      return Error{ErrorKind::kInternal, "cannot watch sockets: " + SystemErrorText(errno), "", ""};
    }
  }
  return {};
}

void LoadLoop::AddConversation(int conversation, double planned_s) {
  ++num_live_;
  AddJob(planned_s, conversation, 0);
}

void LoadLoop::AddUser() {
  ++num_live_;
  NextConversation(0);
}

void LoadLoop::AddJob(double planned_s, int conversation, int turn) {
  jobs_.push({planned_s, next_order_++, conversation, turn});
}

void LoadLoop::Run() {
  std::array<epoll_event, kBatch> events;
  double next_tick_s = 0;
  while (num_live_ > 0) {
    if (shared_.run.stop != nullptr && *shared_.run.stop) {
      interrupted_ = true;
      break;
    }
    TakeGrants();
    StartDue(kBurst);
    ArmTimer();
    const int wait = IsDue(NowS()) ? 0 : kTickMs;
    const int count = ::epoll_wait(epoll_, events.data(), kBatch, wait);
    const double now_s = NowS();
    for (int i = 0; i < count; ++i) {
      const epoll_event& event = events[static_cast<std::size_t>(i)];
      if (event.data.ptr == &timer_ || event.data.ptr == &mail_) {
        std::uint64_t ignored = 0;
        [[maybe_unused]] const auto n =
            ::read(event.data.ptr == &timer_ ? timer_ : mail_, &ignored, sizeof ignored);
        continue;
      }
      OnReady(static_cast<LoadConnection*>(event.data.ptr), event.events, now_s);
      TakeGrants();
      StartDue(1);
    }
    dropped_.clear();
    if (now_s >= next_tick_s) {
      CheckTimeouts(now_s);
      next_tick_s = now_s + kTickMs / 1000.0;
    }
  }
  Abandon();
}

void LoadLoop::ArmTimer() {
  if (jobs_.empty() || jobs_.top().planned_s == armed_s_) return;
  armed_s_ = jobs_.top().planned_s;
  const auto at =
      (shared_.start.time_since_epoch() + std::chrono::duration_cast<std::chrono::nanoseconds>(
                                              std::chrono::duration<double>(armed_s_)))
          .count();
  itimerspec spec{};
  spec.it_value.tv_sec = static_cast<time_t>(at / 1'000'000'000);
  spec.it_value.tv_nsec = static_cast<long>(at % 1'000'000'000) | 1;  // 0 would disarm it
  ::timerfd_settime(timer_, TFD_TIMER_ABSTIME, &spec, nullptr);
}

void LoadLoop::StartDue(int limit) {
  for (int i = 0; i < limit && IsDue(NowS()); ++i) {
    const Job job = jobs_.top();
    jobs_.pop();
    if (shared_.slots == nullptr) {
      Start(job, job.planned_s);
      continue;
    }
    waiting_[job.order] = job;
    if (shared_.slots->Acquire(job.planned_s, [this, order = job.order](double freed_s) {
          PostGrant(order, freed_s);
        })) {
      waiting_.erase(job.order);
      Start(job, job.planned_s);
    }
  }
}

void LoadLoop::PostGrant(std::uint64_t order, double freed_s) {
  {
    const std::lock_guard lock(mutex_);
    grants_.emplace_back(order, freed_s);
    has_grants_ = true;
  }
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto n = ::write(mail_, &one, sizeof one);
}

void LoadLoop::TakeGrants() {
  if (!has_grants_) return;
  std::vector<std::pair<std::uint64_t, double>> grants;
  {
    const std::lock_guard lock(mutex_);
    grants.swap(grants_);
    has_grants_ = false;
  }
  for (const auto& [order, freed_s] : grants) {
    const Job job = waiting_.at(order);
    waiting_.erase(order);
    Start(job, std::max(job.planned_s, freed_s));
  }
}

void LoadLoop::Start(const Job& job, double start_s) {
  const auto& conversation =
      shared_.workload.conversations[static_cast<std::size_t>(job.conversation)];
  RequestRecord record;
  record.conversation = job.conversation;
  record.turn = job.turn;
  record.planned_s = job.planned_s;
  record.start_s = start_s;
  for (int i = 0; i <= job.turn; ++i) {
    const BenchTurn& turn = conversation.turns[static_cast<std::size_t>(i)];
    record.input_tokens += turn.input_tokens + (i < job.turn ? turn.output_tokens : 0);
  }
  const int length = conversation.turns[static_cast<std::size_t>(job.turn)].output_tokens;
  record.itl.reserve(static_cast<std::size_t>(std::clamp(length, 0, kItlsAhead)));
  std::string request;
  if (job.turn == 0) {
    request = shared_.prepared.Take(job.conversation);
  } else {
    request = std::move(next_requests_[job.conversation]);
    next_requests_.erase(job.conversation);
  }
  const bool keep_text = shared_.run.target.keep_text || conversation.turns.size() > 1;
  ++shared_.progress.sent;
  Dispatch(std::make_unique<LoadExchange>(std::move(request), std::move(record), keep_text), false);
}

void LoadLoop::Dispatch(std::unique_ptr<LoadExchange> exchange, bool on_new_connection) {
  LoadConnection* connection = nullptr;
  const bool is_new = on_new_connection || idle_.empty();
  if (is_new) {
    auto opened = std::make_unique<LoadConnection>();
    int error = 0;
    for (std::size_t tries = 0; tries < shared_.addresses.size(); ++tries) {
      error = opened->StartConnect(shared_.addresses[address_]);
      if (error == 0) break;
      address_ = (address_ + 1) % shared_.addresses.size();
    }
    if (error != 0) {
      exchange->answer.Fail(SystemErrorText(error));
      return OnFinished(std::move(exchange), NowS());
    }
    connection = opened.get();
    connection->index = connections_.size();
    connections_.push_back(std::move(opened));
  } else {
    connection = idle_.back();
    idle_.pop_back();
  }
  connection->Assign(std::move(exchange));
  connection->Send([this] { return NowS(); });
  if (Watch(connection, is_new)) return;
  connection->exchange()->answer.Fail("cannot watch the socket: " + SystemErrorText(errno));
  FinishOn(connection, NowS(), false);
}

bool LoadLoop::Watch(LoadConnection* connection, bool is_new) {
  const bool wants_write = connection->has_unsent();
  if (!is_new && wants_write == connection->wants_write) return true;
  connection->wants_write = wants_write;
  epoll_event event{};
  event.events = EPOLLIN | (wants_write ? std::uint32_t{EPOLLOUT} : 0U);
  event.data.ptr = connection;
  const int operation = is_new ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
  return ::epoll_ctl(epoll_, operation, connection->fd(), &event) == 0;
}

void LoadLoop::OnReady(LoadConnection* connection, std::uint32_t events, double now_s) {
  if (connection->dropped) return;
  if (!connection->connected() && !Connected(connection, now_s)) return;
  if ((events & EPOLLOUT) != 0) {
    connection->Send([this] { return NowS(); });
    Watch(connection, false);
  }
  if ((events & (EPOLLIN | EPOLLERR | EPOLLHUP)) == 0) return;
  int num_tokens = 0;
  const auto step = connection->Receive(now_s, buffer_, &body_, &num_tokens);
  if (connection->exchange() != nullptr) last_event_s_ = std::max(last_event_s_, now_s);
  if (num_tokens > 0) {
    shared_.progress.output_tokens.fetch_add(num_tokens, std::memory_order_relaxed);
  }
  OnStep(connection, step, now_s);
}

bool LoadLoop::Connected(LoadConnection* connection, double now_s) {
  const int error = connection->ConnectError();
  if (error == 0) return true;
  // Of a name with several addresses the next one may answer; each request tries them all.
  auto exchange = connection->TakeExchange();
  Drop(connection);
  address_ = (address_ + 1) % shared_.addresses.size();
  if (exchange->num_addresses_failed + 1 < shared_.addresses.size()) {
    ++exchange->num_addresses_failed;
    Dispatch(std::move(exchange), true);
  } else {
    exchange->answer.Fail(SystemErrorText(error));
    OnFinished(std::move(exchange), now_s);
  }
  return false;
}

void LoadLoop::OnStep(LoadConnection* connection, LoadConnection::Step step, double now_s) {
  switch (step) {
    case LoadConnection::Step::kGoingOn:
      break;
    case LoadConnection::Step::kAnswered:
      FinishOn(connection, now_s, connection->reusable());
      break;
    case LoadConnection::Step::kFailed:
      FinishOn(connection, now_s, false);
      break;
    case LoadConnection::Step::kLost: {
      auto exchange = connection->TakeExchange();
      exchange->retried = true;
      Drop(connection);
      Dispatch(std::move(exchange), true);
      break;
    }
  }
}

void LoadLoop::Drop(LoadConnection* connection) {
  std::erase(idle_, connection);
  const std::size_t index = connection->index;
  std::swap(connections_[index], connections_.back());
  connections_[index]->index = index;
  connection->dropped = true;
  connection->Close();
  dropped_.push_back(std::move(connections_.back()));
  connections_.pop_back();
}

void LoadLoop::FinishOn(LoadConnection* connection, double now_s, bool keep) {
  auto exchange = connection->TakeExchange();
  if (keep) {
    idle_.push_back(connection);
  } else {
    Drop(connection);
  }
  if (exchange) OnFinished(std::move(exchange), now_s);
}

void LoadLoop::OnFinished(std::unique_ptr<LoadExchange> exchange, double now_s) {
  if (shared_.slots != nullptr) shared_.slots->Release(now_s);
  records_.push_back(std::move(exchange->answer).Finish());
  const RequestRecord& record = records_.back();
  if (!record.ok()) ++shared_.progress.failed;
  ++shared_.progress.finished;
  GoOn(record, now_s);
}

void LoadLoop::GoOn(const RequestRecord& record, double now_s) {
  const int index = record.conversation;
  const auto& conversation = shared_.workload.conversations[static_cast<std::size_t>(index)];
  const int turn = record.turn + 1;
  if (record.ok() && turn < static_cast<int>(conversation.turns.size())) {
    auto& answers = answers_[index];
    answers.push_back(record.text);
    next_requests_[index] = shared_.writer.Write(conversation, turn, answers);
    AddJob(now_s + conversation.think_s, index, turn);
    return;
  }
  answers_.erase(index);
  if (shared_.run.profile.closed_loop_users > 0) {
    NextConversation(now_s);
  } else {
    --num_live_;
  }
}

void LoadLoop::NextConversation(double now_s) {
  const std::size_t next = shared_.next_conversation++;
  if (next < shared_.workload.conversations.size()) {
    AddJob(now_s, static_cast<int>(next), 0);
  } else {
    --num_live_;
  }
}

void LoadLoop::CheckTimeouts(double now_s) {
  const double limit_s = shared_.run.target.timeout_s;
  for (std::size_t i = connections_.size(); i-- > 0;) {
    LoadConnection* connection = connections_[i].get();
    LoadExchange* exchange = connection->exchange();
    if (exchange == nullptr || now_s - exchange->answer.record().start_s < limit_s) continue;
    exchange->answer.Fail("timeout");
    FinishOn(connection, now_s, false);
  }
}

void LoadLoop::Abandon() {
  for (const auto& connection : connections_) {
    const auto exchange = connection->TakeExchange();
    if (!exchange) continue;
    exchange->answer.Fail("interrupted");
    records_.push_back(std::move(exchange->answer).Finish());
  }
  connections_.clear();
  idle_.clear();
}

}  // namespace quire
