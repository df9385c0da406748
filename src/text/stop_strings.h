// StopStrings: cuts a stream of text at the first stop string, wherever the pieces' borders lie.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace quire {

// One for each sequence; owns the text that could still become a stop string and is held back for
// that. The stop string that ends first in the text counts, of those that end together the longest.
// Empty ones match nothing.
class StopStrings {
 public:
  StopStrings(std::vector<std::string> stops, bool include_in_output);

  // What may be shown now. Once matched() has a value, nothing more comes.
  std::string Push(std::string_view text);
  std::string Finish();  // what was held back, at the end of the sequence
  const std::optional<std::string>& matched() const { return matched_; }

 private:
  // A stop string and how many bytes of its beginning the text ends in (Knuth, Morris and Pratt).
  struct Pattern {
    std::string text;
    std::vector<std::size_t>
        fallback;  // [text.size()]: the next shorter beginning that its prefixes end in
    std::size_t matched = 0;

    bool Advance(char byte);  // true where the whole pattern has matched
  };

  std::string TakeUntil(std::size_t end);

  std::vector<Pattern> patterns_;  // the longest first
  bool include_in_output_;
  std::string held_;
  std::size_t held_begin_ = 0;  // what lies before has been shown
  std::optional<std::string> matched_;
};

}  // namespace quire
