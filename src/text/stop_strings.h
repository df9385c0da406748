// StopStrings: cuts a stream of text at the first stop string, wherever the pieces' borders lie.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace quire {

// One for each sequence. Text that could still become a stop string is held back.
class StopStrings {
 public:
  StopStrings(std::vector<std::string> stops, bool include_in_output);

  // What may be shown now. Once matched() has a value, nothing more comes.
  std::string Push(std::string_view text);
  std::string Finish();  // what was held back, at the end of the sequence
  const std::optional<std::string>& matched() const { return matched_; }

 private:
  std::vector<std::string> stops_;
  bool include_in_output_;
  std::string held_;
  std::optional<std::string> matched_;
};

}  // namespace quire
