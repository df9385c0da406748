#include "bench/progress_bar.h"

#include <fmt/core.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace quire {
namespace {

constexpr double kRateWindow = 3;  // seconds that tokens/s is a mean of
constexpr int kWidestBar = 40;
constexpr int kNarrowestBar = 8;

int TerminalWidth(std::FILE* file) {
  winsize size{};
  if (::ioctl(::fileno(file), TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

std::string RateText(double tokens_per_s) {
  return tokens_per_s < 9999.5 ? fmt::format("{:.0f} tok/s", tokens_per_s)
                               : fmt::format("{:.1f}k tok/s", tokens_per_s / 1000);
}

}  // namespace

std::string DurationText(double seconds) {
  if (!(seconds >= 0) || seconds > 1e7) return "?";
  const auto whole = static_cast<int>(std::ceil(seconds));
  if (whole < 60) return fmt::format("{} s", whole);
  if (whole < 3600) return fmt::format("{}:{:02}", whole / 60, whole % 60);
  return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
}

std::string ProgressText(const ProgressView& view, int width) {
  const auto room = static_cast<std::size_t>(std::max(0, width));
  // By importance; they stand in the order in which they are read.
  std::string count = fmt::format("{}/{}", view.finished, view.total);
  if (view.failed > 0) count += fmt::format(", {} failed", view.failed);
  const std::string eta = view.eta_s >= 0 ? "ETA " + DurationText(view.eta_s) : "";
  const std::vector<std::string> parts = {count, RateText(view.tokens_per_s), eta,
                                          fmt::format("{} in flight", view.in_flight)};
  std::string tail;
  for (const std::string& part : parts) {
    if (part.empty()) continue;
    const std::size_t longer = tail.size() + (tail.empty() ? 0 : 2) + part.size();
    if (longer > room) break;
    tail += (tail.empty() ? "" : "  ") + part;
  }
  const std::size_t left = room - tail.size();
  std::string head;
  if (!view.name.empty() && view.name.size() + 1 <= left) head = view.name + " ";
  const int bar = std::min(kWidestBar, static_cast<int>(left - head.size()) - 4);
  if (bar < kNarrowestBar) return head + tail;
  const int filled = static_cast<int>(std::lround(bar * std::clamp(view.done, 0.0, 1.0)));
  return fmt::format("{}[{:<{}}]  {}", head, std::string(static_cast<std::size_t>(filled), '#'),
                     bar, tail);
}

ProgressBar::ProgressBar(std::FILE* file, bool enabled)
    : file_(enabled && ::isatty(::fileno(file)) != 0 ? file : nullptr) {}

void ProgressBar::Update(ProgressView view, std::int64_t output_tokens, double expected_tokens,
                         double elapsed_s) {
  if (file_ == nullptr) return;
  if (!seen_.empty() && elapsed_s < seen_.back().first) seen_.clear();  // another run
  seen_.emplace_back(elapsed_s, output_tokens);
  while (seen_.size() > 2 && seen_[1].first < elapsed_s - kRateWindow) seen_.pop_front();
  const double seconds = elapsed_s - seen_.front().first;
  if (seconds > 0)
    view.tokens_per_s = static_cast<double>(output_tokens - seen_.front().second) / seconds;
  // Requests that are sent all at once also end at once; until then tokens tell how far it is.
  view.done = view.total > 0 ? static_cast<double>(view.finished) / view.total : 0;
  if (expected_tokens > 0) {
    view.done =
        std::max(view.done, std::min(1.0, static_cast<double>(output_tokens) / expected_tokens));
  }
  if (view.done > 0 && elapsed_s > 1) view.eta_s = elapsed_s / view.done - elapsed_s;
  std::fprintf(file_, "\r%s\033[K", ProgressText(view, TerminalWidth(file_) - 1).c_str());
  std::fflush(file_);
  drawn_ = true;
}

void ProgressBar::Clear() {
  seen_.clear();
  if (!drawn_) return;
  std::fputs("\r\033[K", file_);
  std::fflush(file_);
  drawn_ = false;
}

}  // namespace quire
