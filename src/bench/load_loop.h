// LoadLoop: one thread of the load generator.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <queue>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "bench/load_connection.h"
#include "bench/load_generator.h"
#include "bench/load_request.h"
#include "bench/load_slots.h"
#include "net/tcp_socket.h"

namespace quire {

// What the loops of a run have in common.
struct LoadShared {
  const LoadRun& run;
  const BenchWorkload& workload;
  const LoadRequestWriter& writer;
  LoadPreparer& prepared;
  LoadSlots* slots = nullptr;  // null: no limit
  RunProgress& progress;
  std::vector<TcpAddress> addresses;
  TimePoint start;
  std::atomic<std::size_t> next_conversation{0};  // closed loop: whose turn it is
};

// Owns an epoll set, its connections and the conversations (closed loop: users) given to it.
class LoadLoop {
 public:
  explicit LoadLoop(LoadShared& shared);
  ~LoadLoop();
  LoadLoop(const LoadLoop&) = delete;
  LoadLoop& operator=(const LoadLoop&) = delete;

  Status Open();  // before anything else
  void AddConversation(int conversation, double planned_s);
  void AddUser();
  void Run();  // until all is answered or the run is to stop

  std::vector<RequestRecord> TakeRecords() { return std::move(records_); }
  double last_event_s() const { return last_event_s_; }
  bool interrupted() const { return interrupted_; }

 private:
  struct Job {
    double planned_s = 0;
    std::uint64_t order = 0;
    int conversation = 0;
    int turn = 0;
    bool operator<(const Job& other) const {  // the top of the queue is the largest
      return planned_s != other.planned_s ? planned_s > other.planned_s : order > other.order;
    }
  };

  double NowS() const { return Seconds(Now() - shared_.start); }
  bool IsDue(double now_s) const { return !jobs_.empty() && jobs_.top().planned_s <= now_s; }
  void AddJob(double planned_s, int conversation, int turn);
  void StartDue(int limit);
  void TakeGrants();
  void PostGrant(std::uint64_t order, double freed_s);  // on any thread
  void ArmTimer();
  void Start(const Job& job, double start_s);
  void Dispatch(std::unique_ptr<LoadExchange> exchange, bool on_new_connection);
  bool Watch(LoadConnection* connection, bool is_new);
  void OnReady(LoadConnection* connection, std::uint32_t events, double now_s);
  bool Connected(LoadConnection* connection, double now_s);
  void OnStep(LoadConnection* connection, LoadConnection::Step step, double now_s);
  void Drop(LoadConnection* connection);
  void FinishOn(LoadConnection* connection, double now_s, bool keep);
  void OnFinished(std::unique_ptr<LoadExchange> exchange, double now_s);
  void GoOn(const RequestRecord& record, double now_s);
  void NextConversation(double now_s);
  void CheckTimeouts(double now_s);
  void Abandon();

  LoadShared& shared_;
  int epoll_ = -1;
  int timer_ = -1;
  int mail_ = -1;            // eventfd
  std::size_t address_ = 0;  // the one that worked last
  double armed_s_ = -1;
  std::uint64_t next_order_ = 0;
  int num_live_ = 0;  // conversations, or users, that are not through
  std::priority_queue<Job> jobs_;
  std::unordered_map<std::uint64_t, Job> waiting_;             // for a slot, by order
  std::unordered_map<int, std::vector<std::string>> answers_;  // of earlier turns
  std::unordered_map<int, std::string> next_requests_;         // made while the user thinks
  std::vector<std::unique_ptr<LoadConnection>> connections_;
  std::vector<LoadConnection*> idle_;
  std::vector<std::unique_ptr<LoadConnection>> dropped_;  // kept while epoll's batch may name them
  std::vector<char> buffer_;
  std::string body_;
  std::vector<RequestRecord> records_;
  double last_event_s_ = 0;
  bool interrupted_ = false;

  std::atomic<bool> has_grants_{false};
  std::mutex mutex_;
  std::vector<std::pair<std::uint64_t, double>> grants_;
};

}  // namespace quire
