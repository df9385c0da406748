#include "server/admission.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

namespace quire {

Admission::Ticket::Ticket(Ticket&& other) noexcept
    : admission_(std::exchange(other.admission_, nullptr)),
      count_(std::exchange(other.count_, 0)),
      accepted_(std::exchange(other.accepted_, false)) {}

Admission::Ticket& Admission::Ticket::operator=(Ticket&& other) noexcept {
  std::swap(admission_, other.admission_);
  std::swap(count_, other.count_);
  std::swap(accepted_, other.accepted_);
  return *this;
}

Admission::Ticket::~Ticket() { End(Outcome::kFailed); }

void Admission::Ticket::Accept() {
  accepted_ = true;
  admission_->num_requests_.fetch_add(1);
  admission_->metrics_.OnAccepted();
}

void Admission::Ticket::FreeOne() {
  if (count_ == 0) return;
  --count_;
  admission_->num_sequences_.fetch_sub(1);
}

void Admission::Ticket::End(Outcome outcome) {
  if (admission_ == nullptr) return;
  admission_->num_sequences_.fetch_sub(count_);
  if (accepted_) {
    admission_->num_requests_.fetch_sub(1);
    admission_->metrics_.OnOutcome(outcome);
  }
  admission_ = nullptr;
  count_ = 0;
}

Admission::Admission(Metrics& metrics, std::optional<std::int64_t> max_num_queued_reqs)
    : metrics_(metrics), max_num_queued_reqs_(max_num_queued_reqs) {}

void Admission::SetModel(const EngineInfo& info) {
  const std::int64_t running = std::max(info.max_num_seqs, 1);
  capacity_ = running + max_num_queued_reqs_.value_or(std::max<std::int64_t>(1024, 4 * running));
}

Result<Admission::Ticket> Admission::Reserve(std::int64_t count) {
  const std::int64_t capacity = capacity_.load();
  if (count > capacity)
    return InvalidRequest(
        fmt::format(
            "the request asks for {} answers, but the queue holds {} (--max-num-queued-reqs)",
            count, capacity),
        "n", "queue_too_small");
  std::int64_t now = num_sequences_.load();
  do {
    if (now + count > capacity) return Refuse();
  } while (!num_sequences_.compare_exchange_weak(now, now + count));
  return Ticket(this, count);
}

Error Admission::Refuse() {
  metrics_.OnRefused(Refusal::kQueueFull);
  return {ErrorKind::kOverloaded, "the server is busy and its queue is full: try again shortly", "",
          "rate_limit_exceeded"};
}

}  // namespace quire
