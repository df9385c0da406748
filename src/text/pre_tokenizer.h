// PreTokenizer: cuts normalised text into the pieces that the model tokenizes one by one.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/tokenizer_json.h"
#include "text/tokenizer_regex.h"

namespace quire {

// The text of a segment and the pieces that it is cut into so far, which are in order and not
// empty.
struct PreTokenized {
  struct Piece {
    std::size_t begin = 0;
    std::size_t end = 0;
    bool starts_input = false;  // its first byte comes from the very beginning of the input
  };
  std::string text;
  std::vector<Piece> pieces;

  std::string_view TextOf(const Piece& piece) const {
    return std::string_view(text).substr(piece.begin, piece.end - piece.begin);
  }
};

// Owns the steps of tokenizer.json's pre_tokenizer. Immutable.
class PreTokenizer {
 public:
  class Step;  // cuts or rewrites the pieces

  // Of the field pre_tokenizer; nothing for null.
  static Result<PreTokenizer> Parse(const std::optional<JsonView>& config);

  PreTokenizer();
  ~PreTokenizer();
  PreTokenizer(PreTokenizer&&) noexcept;
  PreTokenizer& operator=(PreTokenizer&&) noexcept;

  // The pieces of a segment; `starts_input` where the segment is the beginning of the input.
  PreTokenized Split(std::string segment, bool starts_input) const;

 private:
  std::vector<std::unique_ptr<const Step>> steps_;
};

}  // namespace quire
