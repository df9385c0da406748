#include "text/tokenizer_added.h"

#include <algorithm>
#include <utility>

#include "text/tokenizer_unicode.h"

namespace quire {

Result<AddedToken> AddedToken::Parse(const JsonView& config, TokenId id) {
  AddedToken token;
  token.id = id;
  Result<std::string> content = config.String("content");
  if (!content) return content.error();
  token.content = *std::move(content);
  if (token.content.empty()) return config.Fault("has an empty content");
  const std::pair<std::string_view, bool*> flags[] = {{"single_word", &token.single_word},
                                                      {"lstrip", &token.lstrip},
                                                      {"rstrip", &token.rstrip},
                                                      {"special", &token.special}};
  for (const auto& [name, flag] : flags) {
    const Result<bool> value = config.BoolOr(name, false);
    if (!value) return value.error();
    *flag = *value;
  }
  const Result<bool> normalized = config.BoolOr("normalized", !token.special);
  if (!normalized) return normalized.error();
  token.normalized = *normalized;
  return token;
}

AddedTokenMatcher::AddedTokenMatcher(std::vector<Pattern> patterns)
    : patterns_(std::move(patterns)), first_byte_(257) {
  auto by_text = [](const Pattern& a, const Pattern& b) { return a.first < b.first; };
  auto same_text = [](const Pattern& a, const Pattern& b) { return a.first == b.first; };
  std::erase_if(patterns_, [](const Pattern& pattern) { return pattern.first.empty(); });
  std::stable_sort(patterns_.begin(), patterns_.end(), by_text);
  patterns_.erase(std::unique(patterns_.begin(), patterns_.end(), same_text), patterns_.end());
  for (const Pattern& pattern : patterns_)
    ++first_byte_[static_cast<unsigned char>(pattern.first[0]) + 1U];
  for (std::size_t i = 1; i < first_byte_.size(); ++i) first_byte_[i] += first_byte_[i - 1];
}

const AddedTokenMatcher::Pattern* AddedTokenMatcher::LongestAt(std::string_view text) const {
  const auto first = static_cast<unsigned char>(text[0]);
  auto low = patterns_.begin() + static_cast<std::ptrdiff_t>(first_byte_[first]);
  auto high = patterns_.begin() + static_cast<std::ptrdiff_t>(first_byte_[first + 1U]);
  const Pattern* longest = nullptr;
  // [low, high) are the patterns that begin with text's first `depth` bytes; the shortest of them
  // is the first.
  for (std::size_t depth = 1; low != high; ++depth) {
    if (low->first.size() == depth) longest = &*low++;
    if (depth >= text.size()) break;
    auto byte_at = [depth](const Pattern& pattern) {
      return static_cast<unsigned char>(pattern.first[depth]);
    };
    const auto byte = static_cast<unsigned char>(text[depth]);
    low = std::partition_point(low, high, [&](const Pattern& p) { return byte_at(p) < byte; });
    high = std::partition_point(low, high, [&](const Pattern& p) { return byte_at(p) == byte; });
  }
  return longest;
}

std::vector<AddedTokenMatcher::Segment> AddedTokenMatcher::Split(std::string_view text) const {
  std::vector<Segment> segments;
  std::size_t done = 0;  // everything before lies in a segment
  for (std::size_t at = 0; at < text.size() && !patterns_.empty();) {
    const Pattern* pattern = LongestAt(text.substr(at));
    if (pattern == nullptr) {
      ++at;
      continue;
    }
    const AddedToken& token = *pattern->second;
    std::size_t begin = at;
    std::size_t end = at + pattern->first.size();
    at = end;
    if (token.single_word &&
        (EndsWithWordCharacter(text.substr(0, begin)) || StartsWithWordCharacter(text.substr(end))))
      continue;
    // A token before may have taken the white space that this one begins with.
    if (token.lstrip && begin > done) begin -= TrailingWhiteSpace(text.substr(done, begin - done));
    if (token.rstrip) end += LeadingWhiteSpace(text.substr(end));
    if (done < begin) segments.push_back({done, begin, nullptr});
    segments.push_back({begin, end, &token});
    done = end;
  }
  if (done < text.size()) segments.push_back({done, text.size(), nullptr});
  return segments;
}

Status AddedTokens::Add(AddedToken token, const JsonView& where) {
  if (const AddedToken* other = FindContent(token.content)) {
    if (other->id == token.id) return {};
    return where.Fault("gives " + Quoted(token.content) + " a second id");
  }
  if (const AddedToken* other = FindId(token.id))
    return where.Fault("gives " + Quoted(token.content) + " the id of " + Quoted(other->content));
  by_id_[token.id] = tokens_.size();
  by_content_[token.content] = tokens_.size();
  tokens_.push_back(std::move(token));
  return {};
}

void AddedTokens::BuildMatchers(const std::function<std::string(std::string_view)>& normalize) {
  std::vector<AddedTokenMatcher::Pattern> raw;
  std::vector<AddedTokenMatcher::Pattern> normalized;
  for (const AddedToken& token : tokens_) {
    if (token.normalized) {
      normalized.emplace_back(normalize(token.content), &token);
    } else {
      raw.emplace_back(token.content, &token);
    }
  }
  raw_ = AddedTokenMatcher(std::move(raw));
  normalized_ = AddedTokenMatcher(std::move(normalized));
}

const AddedToken* AddedTokens::FindId(TokenId id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &tokens_[found->second];
}

const AddedToken* AddedTokens::FindContent(std::string_view content) const {
  const auto found = by_content_.find(std::string(content));
  return found == by_content_.end() ? nullptr : &tokens_[found->second];
}

}  // namespace quire
