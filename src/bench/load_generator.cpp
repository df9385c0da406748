#include "bench/load_generator.h"

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <exception>
#include <memory>
#include <numeric>
#include <optional>
#include <thread>

#include "bench/load_loop.h"
#include "bench/load_request.h"
#include "bench/load_slots.h"
#include "net/tcp_socket.h"

namespace quire {
namespace {

constexpr int kMaxThreads = 8;
constexpr std::chrono::milliseconds kLead{5};  // for the threads to get to their first wait

struct PlannedConversation {
  double time_s = 0;
  int conversation = 0;
};

// By time. A conversation's own arrival counts where it has one; the profile's go to the others.
std::vector<PlannedConversation> Plan(const LoadProfile& profile, const BenchWorkload& workload) {
  std::vector<PlannedConversation> plan;
  const auto num_own = std::count_if(workload.conversations.begin(), workload.conversations.end(),
                                     [](const auto& c) { return c.arrival_s.has_value(); });
  const auto num_all = static_cast<int>(workload.conversations.size());
  const auto times = ArrivalTimes(profile, num_all - static_cast<int>(num_own));
  std::size_t next = 0;
  for (std::size_t i = 0; i < workload.conversations.size(); ++i) {
    const BenchConversation& conversation = workload.conversations[i];
    const double time_s = conversation.arrival_s ? *conversation.arrival_s : times[next++];
    plan.push_back({time_s, static_cast<int>(i)});
  }
  std::stable_sort(plan.begin(), plan.end(),
                   [](const auto& a, const auto& b) { return a.time_s < b.time_s; });
  return plan;
}

Status CheckWorkload(const LoadRun& run, const BenchWorkload& workload) {
  for (const BenchConversation& conversation : workload.conversations) {
    if (conversation.turns.empty()) return ConfigFault("the dataset has an empty conversation");
    for (const BenchTurn& turn : conversation.turns) {
      if (run.target.chat && !turn.token_ids.empty()) {
        return ConfigFault("token ids cannot be sent to " + run.target.endpoint +
                           ", which takes messages");
      }
    }
  }
  return {};
}

// A thousand streams are a thousand files.
void RaiseFileLimit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

int NumThreads(const LoadRun& run, std::size_t num_conversations) {
  int wanted = run.num_threads;
  if (wanted <= 0) {
    const int cores = static_cast<int>(std::thread::hardware_concurrency());
    wanted = std::clamp(cores / 2, 1, kMaxThreads);
  }
  if (run.profile.closed_loop_users > 0) wanted = std::min(wanted, run.profile.closed_loop_users);
  return static_cast<int>(
      std::min<std::size_t>(static_cast<std::size_t>(wanted), num_conversations));
}

// Owns the threads of the loops.
class LoopThreads {
 public:
  explicit LoopThreads(const std::vector<std::unique_ptr<LoadLoop>>& loops)
      : num_running_(static_cast<int>(loops.size())), errors_(loops.size()) {
    for (std::size_t i = 0; i < loops.size(); ++i) {
      threads_.emplace_back([this, i, loop = loops[i].get()] {
        try {
          loop->Run();
        } catch (const std::exception& error) {
          errors_[i] = error.what();
        }
        --num_running_;
      });
    }
  }
  ~LoopThreads() {
    for (std::thread& thread : threads_) thread.join();
  }

  bool running() const { return num_running_ > 0; }
  Status Join() {
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
    for (const std::string& error : errors_) {
      if (!error.empty()) return Error{ErrorKind::kInternal, "load generator: " + error, "", ""};
    }
    return {};
  }

 private:
  std::atomic<int> num_running_;
  std::vector<std::string> errors_;
  std::vector<std::thread> threads_;
};

LoadOutcome Collect(const std::vector<std::unique_ptr<LoadLoop>>& loops) {
  LoadOutcome outcome;
  double first_s = 0;
  double last_s = 0;
  for (const auto& loop : loops) {
    for (RequestRecord& record : loop->TakeRecords()) outcome.records.push_back(std::move(record));
    last_s = std::max(last_s, loop->last_event_s());
    outcome.interrupted = outcome.interrupted || loop->interrupted();
  }
  std::stable_sort(outcome.records.begin(), outcome.records.end(),
                   [](const RequestRecord& a, const RequestRecord& b) {
                     return a.planned_s != b.planned_s ? a.planned_s < b.planned_s
                                                       : a.conversation < b.conversation;
                   });
  if (!outcome.records.empty()) first_s = outcome.records.front().planned_s;
  outcome.duration_s = std::max(0.0, last_s - first_s);
  return outcome;
}

}  // namespace

Result<LoadOutcome> RunLoad(const LoadRun& run, const BenchWorkload& workload) {
  auto writer = LoadRequestWriter::Make(run.target);
  if (!writer) return writer.error();
  QUIRE_RETURN_IF_ERROR(CheckWorkload(run, workload));
  auto addresses = ResolveTcp(run.target.base.host, run.target.base.port);
  if (!addresses) return addresses.error();
  if (workload.conversations.empty()) return LoadOutcome();
  RaiseFileLimit();

  const auto plan = Plan(run.profile, workload);
  const bool closed_loop = run.profile.closed_loop_users > 0;
  std::vector<int> order;
  order.reserve(plan.size());
  for (const auto& planned : plan) order.push_back(planned.conversation);
  if (closed_loop) std::iota(order.begin(), order.end(), 0);
  LoadPreparer prepared(*writer, workload, std::move(order));
  bool more_to_prepare = prepared.Fill();

  std::optional<LoadSlots> slots;
  if (run.profile.max_concurrency) slots.emplace(std::max(1, *run.profile.max_concurrency));
  RunProgress unseen;
  LoadShared shared{run,
                    workload,
                    *writer,
                    prepared,
                    slots ? &*slots : nullptr,
                    run.progress != nullptr ? *run.progress : unseen,
                    std::move(*addresses),
                    {}};
  std::vector<std::unique_ptr<LoadLoop>> loops;
  const auto num_threads = static_cast<std::size_t>(NumThreads(run, plan.size()));
  for (std::size_t i = 0; i < num_threads; ++i) {
    loops.push_back(std::make_unique<LoadLoop>(shared));
    QUIRE_RETURN_IF_ERROR(loops.back()->Open());
  }
  for (std::size_t i = 0; !closed_loop && i < plan.size(); ++i) {
    loops[i % num_threads]->AddConversation(plan[i].conversation, plan[i].time_s);
  }
  for (int i = 0; i < run.profile.closed_loop_users; ++i) {
    loops[static_cast<std::size_t>(i) % num_threads]->AddUser();
  }
  shared.start = Now() + kLead;
  LoopThreads threads(loops);
  while (more_to_prepare && threads.running()) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    more_to_prepare = prepared.Fill();
  }
  QUIRE_RETURN_IF_ERROR(threads.Join());
  return Collect(loops);
}

}  // namespace quire
