#include "cli/bench_session.h"

#include <algorithm>
#include <cstdio>
#include <utility>

namespace quire {

BenchSession::BenchSession(bool bar) : bar_(stderr, bar) {
  signals_.WhileLoading([this] { stop_ = true; });
}

ServeBenchHooks BenchSession::Hooks() {
  ServeBenchHooks hooks;
  hooks.say = [this](const std::string& line) { Say(line); };
  hooks.tick = [this](const ServeBenchTick& tick) { Tick(tick); };
  hooks.tick_end = [this] { bar_.Clear(); };
  hooks.stop = &stop_;
  return hooks;
}

void BenchSession::Say(const std::string& line) {
  bar_.Clear();
  std::fprintf(stderr, "%s\n", line.c_str());
}

void BenchSession::Tick(const ServeBenchTick& tick) {
  ProgressView view;
  view.name = name_;
  view.total = tick.num_requests;
  view.finished = tick.progress.finished;
  view.failed = tick.progress.failed;
  view.in_flight = std::max(0, tick.progress.sent - view.finished);
  bar_.Update(std::move(view), tick.progress.output_tokens, tick.expected_tokens, tick.elapsed_s);
}

}  // namespace quire
