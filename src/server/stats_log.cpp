#include "server/stats_log.h"

#include <fmt/core.h>

#include <utility>

#include "base/log.h"

namespace quire {

std::string StatsLine(const Gauges& gauges, const Totals& before, const Totals& now,
                      double seconds) {
  const std::uint64_t queries = now.cache_queries - before.cache_queries;
  const std::uint64_t hits = now.cache_hits - before.cache_hits;
  return fmt::format(
      "prompt {:.1f} tokens/s, generation {:.1f} tokens/s, running {}, waiting {}, KV cache "
      "{:.1f}%, prefix cache hit rate {:.1f}%",
      static_cast<double>(now.prompt_tokens - before.prompt_tokens) / seconds,
      static_cast<double>(now.generation_tokens - before.generation_tokens) / seconds,
      gauges.engine.num_running, NumWaiting(gauges), 100 * KvCacheUsage(gauges.engine),
      queries == 0 ? 0.0 : 100 * static_cast<double>(hits) / static_cast<double>(queries));
}

StatsLog::StatsLog(asio::thread_pool& pool, std::chrono::milliseconds interval,
                   std::function<Gauges()> gauges, std::function<Totals()> totals)
    : timer_(pool), interval_(interval), gauges_(std::move(gauges)), totals_(std::move(totals)) {}

void StatsLog::Start() {
  timer_.expires_after(interval_);
  // The pool owns the wait and the wait owns this, so both end together.
  timer_.async_wait([self = shared_from_this()](const asio::error_code& error) {
    if (error) return;
    self->Tick();
    self->Start();
  });
}

void StatsLog::Tick() {
  const Totals now = totals_();
  const Gauges gauges = gauges_();
  const bool busy = gauges.num_sequences > 0 || gauges.engine.num_running > 0 ||
                    now.generation_tokens != last_.generation_tokens;
  // One more line when the load ends shows that it did.
  if (busy || was_busy_)
    LogInfo("{}", StatsLine(gauges, last_, now, std::chrono::duration<double>(interval_).count()));
  was_busy_ = busy;
  last_ = now;
}

}  // namespace quire
