#include "text/stop_strings.h"

#include <algorithm>
#include <utility>

namespace quire {

StopStrings::StopStrings(std::vector<std::string> stops, bool include_in_output)
    : include_in_output_(include_in_output) {
  std::erase(stops, std::string());
  std::stable_sort(stops.begin(), stops.end(),
                   [](const std::string& a, const std::string& b) { return a.size() > b.size(); });
  patterns_.reserve(stops.size());
  for (std::string& stop : stops) {
    std::vector<std::size_t> fallback(stop.size());
    for (std::size_t i = 1, length = 0; i < stop.size(); ++i) {
      while (length > 0 && stop[i] != stop[length]) length = fallback[length - 1];
      if (stop[i] == stop[length]) ++length;
      fallback[i] = length;
    }
    patterns_.push_back({std::move(stop), std::move(fallback), 0});
  }
}

bool StopStrings::Pattern::Advance(char byte) {
  while (matched > 0 && text[matched] != byte) matched = fallback[matched - 1];
  if (text[matched] == byte) ++matched;
  return matched == text.size();
}

std::string StopStrings::Push(std::string_view text) {
  if (matched_) return {};
  if (patterns_.empty()) return std::string(text);
  const std::size_t before = held_.size();
  held_ += text;
  for (std::size_t at = before; at < held_.size(); ++at) {
    const Pattern* first = nullptr;
    for (Pattern& pattern : patterns_)
      if (pattern.Advance(held_[at]) && first == nullptr) first = &pattern;
    if (first == nullptr) continue;
    matched_ = first->text;
    std::string shown = TakeUntil(at + 1 - (include_in_output_ ? 0 : first->text.size()));
    held_.clear();
    held_begin_ = 0;
    return shown;
  }
  std::size_t longest = 0;
  for (const Pattern& pattern : patterns_) longest = std::max(longest, pattern.matched);
  return TakeUntil(held_.size() - longest);
}

std::string StopStrings::Finish() { return matched_ ? std::string() : TakeUntil(held_.size()); }

std::string StopStrings::TakeUntil(std::size_t end) {
  std::string shown = held_.substr(held_begin_, end - held_begin_);
  held_begin_ = end;
  // Erasing only when half is garbage keeps the whole linear where much is held back.
  if (2 * held_begin_ >= held_.size()) {
    held_.erase(0, held_begin_);
    held_begin_ = 0;
  }
  return shown;
}

}  // namespace quire
