// Added tokens: those that tokenizer.json puts beside the model's vocabulary and that text is
// searched for.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "text/tokenizer_json.h"

namespace quire {

struct AddedToken {
  TokenId id = 0;
  std::string content;
  bool single_word = false;  // matches only where no word character touches it
  bool lstrip = false;       // takes the white space before it with it
  bool rstrip = false;
  bool normalized = false;  // is searched for in normalised text, and in normalised spelling
  bool special = false;

  // `config` is an AddedToken of tokenizer.json; its id is given apart.
  static Result<AddedToken> Parse(const JsonView& config, TokenId id);
};

// Owns a set of patterns, and finds the leftmost longest of them in time linear in the text.
class AddedTokenMatcher {
 public:
  // A pattern and what it is found for. Of equal patterns the first one counts, empty ones do not.
  using Pattern = std::pair<std::string, const AddedToken*>;
  struct Segment {
    std::size_t begin = 0;
    std::size_t end = 0;
    const AddedToken* token = nullptr;  // or null: text between tokens
  };

  AddedTokenMatcher() = default;
  explicit AddedTokenMatcher(std::vector<Pattern> patterns);

  // Cuts text into added tokens and what lies between them; no segment of the latter is empty.
  std::vector<Segment> Split(std::string_view text) const;

 private:
  const Pattern* LongestAt(std::string_view text) const;

  std::vector<Pattern> patterns_;        // sorted
  std::vector<std::size_t> first_byte_;  // [257]: where the patterns with this first byte begin
};

// Owns the added tokens and both their matchers. Movable while nobody holds its tokens.
class AddedTokens {
 public:
  // Adds a token; a kModel error of `where` where its id or its content is taken by another.
  Status Add(AddedToken token, const JsonView& where);
  // After the last Add. `normalize` gives a text's normalised form.
  void BuildMatchers(const std::function<std::string(std::string_view)>& normalize);

  const std::vector<AddedToken>& tokens() const { return tokens_; }
  const AddedToken* FindId(TokenId id) const;
  const AddedToken* FindContent(std::string_view content) const;

  const AddedTokenMatcher& raw() const { return raw_; }                // before normalisation
  const AddedTokenMatcher& normalized() const { return normalized_; }  // after it

 private:
  std::vector<AddedToken> tokens_;
  std::unordered_map<TokenId, std::size_t> by_id_;
  std::unordered_map<std::string, std::size_t> by_content_;
  AddedTokenMatcher raw_;
  AddedTokenMatcher normalized_;
};

}  // namespace quire
