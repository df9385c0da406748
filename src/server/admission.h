// Admission: the bounded queue. Owns the count of sequences that the front end has let in, and the
// ledger of requests: accepted = completed + failed + cancelled + in flight.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>

#include "base/result.h"
#include "server/metrics.h"

namespace quire {

class Admission {
 public:
  // The place of one HTTP request: `count` sequences. Gives back what is left of it when it dies.
  class Ticket {
   public:
    Ticket() = default;
    Ticket(Ticket&& other) noexcept;
    Ticket& operator=(Ticket&& other) noexcept;
    Ticket(const Ticket&) = delete;
    Ticket& operator=(const Ticket&) = delete;
    ~Ticket();

    void Accept();              // it goes to the engine: from now on it has one outcome
    void FreeOne();             // one of its sequences ended
    void End(Outcome outcome);  // all of them did; further calls do nothing

   private:
    friend class Admission;
    Ticket(Admission* admission, std::int64_t count) : admission_(admission), count_(count) {}

    Admission* admission_ = nullptr;
    std::int64_t count_ = 0;
    bool accepted_ = false;
  };

  Admission(Metrics& metrics, std::optional<std::int64_t> max_num_queued_reqs);

  void SetModel(const EngineInfo& info);  // the capacity is what runs and what may wait

  // Counts at once, so that a burst can not pass a check that is counted later.
  Result<Ticket> Reserve(std::int64_t count);
  bool full() const { return num_sequences_.load() >= capacity_.load(); }
  Error Refuse();  // for a queue that is full; counts it

  std::int64_t num_sequences() const { return num_sequences_.load(); }
  std::int64_t num_requests() const { return num_requests_.load(); }  // accepted, not ended
  std::int64_t capacity() const { return capacity_.load(); }

 private:
  Metrics& metrics_;
  std::optional<std::int64_t> max_num_queued_reqs_;
  std::atomic<std::int64_t> capacity_{0};
  std::atomic<std::int64_t> num_sequences_{0};
  std::atomic<std::int64_t> num_requests_{0};
};

}  // namespace quire
