// ProgressBar: the line that a run shows of itself on a terminal.
#pragma once

#include <cstdint>
#include <cstdio>
#include <deque>
#include <string>
#include <utility>

namespace quire {

struct ProgressView {
  std::string name;  // "run", "12.5 req/s"
  int total = 0;
  int finished = 0;
  int failed = 0;
  int in_flight = 0;
  double tokens_per_s = 0;  // of the last seconds
  double eta_s = -1;        // < 0: unknown
  double done = 0;          // 0..1
};

// One line of at most `width` columns; what matters less is left out where there is no room.
std::string ProgressText(const ProgressView& view, int width);

// "7 s", "3:07", "2:03:07".
std::string DurationText(double seconds);

// Owns the last line of a terminal while something goes on. Draws nothing where `file` is none.
class ProgressBar {
 public:
  ProgressBar(std::FILE* file, bool enabled);
  ~ProgressBar() { Clear(); }
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  // What the view lacks, tokens/s and ETA, is made from what was seen before. expected_tokens: 0
  // where nobody knows how long answers will be.
  void Update(ProgressView view, std::int64_t output_tokens, double expected_tokens,
              double elapsed_s);
  void Clear();  // the line is free for other text; the next Update begins anew

 private:
  std::FILE* file_;  // null: nothing is drawn
  bool drawn_ = false;
  std::deque<std::pair<double, std::int64_t>> seen_;  // (elapsed, tokens) of the last seconds
};

}  // namespace quire
