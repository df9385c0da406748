#include "bench/synthetic_prompts.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <string_view>
#include <utility>

namespace quire {
namespace {

constexpr std::int64_t kMaxCandidates = 8192;  // ids that are looked at for words
constexpr std::size_t kIdsAtOnce = 2048;       // of them, in one Decode
constexpr std::size_t kMinWords = 8;           // fewer would make prompts too alike
constexpr std::size_t kMaxCheckedBytes = 32 << 20;
constexpr int kMaxFits = 24;
// Nothing that a token of the vocabulary has inside it.
constexpr std::string_view kSeparator = "\n#|#\n";

bool IsSpacedWord(std::string_view text) {
  return text.size() > 1 && text[0] == ' ' && std::all_of(text.begin() + 1, text.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
         });
}

// Which ids are looked at: all of a small vocabulary, a fixed sample of a large one.
std::vector<TokenId> Candidates(const PromptCodec& codec) {
  const std::int64_t size = std::min<std::int64_t>(codec.vocab_size(), 1 << 24);
  std::vector<TokenId> ids;
  if (size <= kMaxCandidates) {
    ids.resize(static_cast<std::size_t>(std::max<std::int64_t>(size, 0)));
    std::iota(ids.begin(), ids.end(), 0);
  } else {
    DatasetRng rng(1);
    for (std::int64_t i = 0; i < kMaxCandidates; ++i) {
      ids.push_back(static_cast<TokenId>(rng.Below(static_cast<std::uint64_t>(size))));
    }
    std::sort(ids.begin(), ids.end());
    ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  }
  ids.erase(std::remove_if(ids.begin(), ids.end(), [&](TokenId id) { return codec.IsSpecial(id); }),
            ids.end());
  return ids;
}

std::vector<std::string_view> SplitBy(std::string_view text, std::string_view between) {
  std::vector<std::string_view> parts;
  for (std::size_t end; (end = text.find(between)) != std::string_view::npos;) {
    parts.push_back(text.substr(0, end));
    text.remove_prefix(end + between.size());
  }
  parts.push_back(text);
  return parts;
}

}  // namespace

Result<SyntheticPrompts> SyntheticPrompts::Make(PromptCodec& codec, bool token_ids) {
  if (codec.vocab_size() <= 0) return ConfigFault("--tokenizer: the vocabulary is empty");
  SyntheticPrompts prompts(codec, token_ids);
  QUIRE_RETURN_IF_ERROR(prompts.FindWords());
  if (prompts.words_.size() >= kMinWords) QUIRE_RETURN_IF_ERROR(prompts.FindLead());
  if (prompts.words_.size() >= kMinWords) QUIRE_RETURN_IF_ERROR(prompts.KeepStableWords());
  if (prompts.words_.size() < kMinWords) prompts.words_.clear();
  prompts.IndexWords();
  return prompts;
}

// The text of each id is wanted, but a decoder strips a first space: a separator on both sides, of
// which many fit into one Decode.
Status SyntheticPrompts::FindWords() {
  auto separator = codec_->Encode(kSeparator);
  if (!separator) return separator.error();
  std::vector<TokenId> twice = *separator;
  twice.insert(twice.end(), separator->begin(), separator->end());
  const auto head = codec_->Decode(*separator);
  if (!head) return head.error();
  const auto both = codec_->Decode(twice);
  if (!both) return both.error();
  if (head->empty() || both->size() <= head->size() || both->compare(0, head->size(), *head) != 0) {
    return {};
  }
  const std::vector<TokenId> candidates = Candidates(*codec_);
  std::span<const TokenId> left = candidates;
  Status last;
  bool some = false;
  while (!left.empty()) {
    const auto chunk = left.first(std::min(kIdsAtOnce, left.size()));
    left = left.subspan(chunk.size());
    // A server may refuse an id in a gap of its vocabulary: the other chunks do.
    Status read = ReadChunk(chunk, *separator, *head, both->substr(head->size()));
    some = some || read.ok();
    if (!read) last = read;
  }
  return some || last.ok() ? Status() : last;
}

Status SyntheticPrompts::ReadChunk(std::span<const TokenId> chunk,
                                   const std::vector<TokenId>& separator, const std::string& head,
                                   const std::string& between) {
  std::vector<TokenId> ids = separator;
  for (const TokenId id : chunk) {
    ids.push_back(id);
    ids.insert(ids.end(), separator.begin(), separator.end());
  }
  const auto text = codec_->Decode(ids);
  if (!text) return text.error();
  if (text->compare(0, head.size(), head) != 0) return {};
  const auto parts = SplitBy(std::string_view(*text).substr(head.size()), between);
  if (parts.size() != chunk.size() + 1) return {};
  for (std::size_t i = 0; i < chunk.size(); ++i) {
    if (IsSpacedWord(parts[i])) words_.push_back({chunk[i], std::string(parts[i])});
  }
  return {};
}

// Byte-level tokenizers keep the first word's space, sentencepiece puts one there itself.
Status SyntheticPrompts::FindLead() {
  for (std::size_t i = 0; i < kMinWords; ++i) {
    for (const bool lead : {true, false}) {
      auto ids = codec_->Encode(std::string_view(words_[i].text).substr(lead ? 0 : 1));
      if (!ids) return ids.error();
      if (*ids != std::vector<TokenId>{words_[i].id}) continue;
      leading_space_ = lead;
      return {};
    }
  }
  words_.clear();
  return {};
}

// Random orders of all words are encoded; those that come back as something else go. Two orders in
// a row must survive.
Status SyntheticPrompts::KeepStableWords() {
  DatasetRng rng(2);
  int survived = 0;
  for (int round = 0; round < 8 && survived < 2; ++round) {
    rng.Shuffle(words_);
    auto encoded = codec_->Encode(JoinWords());
    if (!encoded) return encoded.error();
    const bool same = std::equal(words_.begin(), words_.end(), encoded->begin(), encoded->end(),
                                 [](const Word& word, TokenId id) { return word.id == id; });
    survived = same ? survived + 1 : 0;
    if (!same && !DropUnstable(*encoded)) break;
    if (words_.size() < kMinWords) break;
  }
  if (survived < 2) words_.clear();
  return {};
}

// Walks along both sequences; where they part, the words up to the next place at which two ids
// agree are dropped. False where there is no such place.
bool SyntheticPrompts::DropUnstable(const std::vector<TokenId>& encoded) {
  constexpr std::size_t kMaxDropped = 8;
  constexpr std::size_t kMaxIds = 64;
  const auto meets = [&](std::size_t word, std::size_t at) {
    for (std::size_t i = 0; i < 2; ++i) {
      if (word + i == words_.size() || at + i == encoded.size()) {
        return word + i == words_.size() && at + i == encoded.size();
      }
      if (words_[word + i].id != encoded[at + i]) return false;
    }
    return true;
  };
  std::vector<Word> kept;
  std::size_t at = 0;
  for (std::size_t word = 0; word < words_.size();) {
    if (at < encoded.size() && words_[word].id == encoded[at]) {
      kept.push_back(words_[word++]);
      ++at;
      continue;
    }
    bool found = false;
    for (std::size_t d = 1; d <= kMaxDropped && word + d <= words_.size() && !found; ++d) {
      for (std::size_t k = 0; k <= kMaxIds && at + k <= encoded.size() && !found; ++k) {
        if (!meets(word + d, at + k)) continue;
        word += d;
        at += k;
        found = true;
      }
    }
    if (!found) return false;
  }
  words_ = std::move(kept);
  return true;
}

void SyntheticPrompts::IndexWords() {
  TokenId greatest = -1;
  for (const Word& word : words_) greatest = std::max(greatest, word.id);
  word_of_id_.assign(static_cast<std::size_t>(greatest + 1), -1);
  for (std::size_t i = 0; i < words_.size(); ++i) {
    word_of_id_[static_cast<std::size_t>(words_[i].id)] = static_cast<std::int32_t>(i);
  }
}

std::string SyntheticPrompts::JoinWords() const {
  std::string text;
  for (const Word& word : words_) text += word.text;
  return leading_space_ || text.empty() ? text : text.substr(1);
}

std::string SyntheticPrompts::Join(std::span<const TokenId> ids) const {
  std::string text;
  for (const TokenId id : ids) {
    const std::int32_t word = word_of_id_[static_cast<std::size_t>(id)];
    text += words_[static_cast<std::size_t>(word)].text;
  }
  return leading_space_ || text.empty() ? text : text.substr(1);
}

std::vector<TokenId> SyntheticPrompts::Draw(DatasetRng& rng, int count) const {
  std::vector<TokenId> ids;
  ids.reserve(static_cast<std::size_t>(std::max(count, 0)));
  const auto size = static_cast<std::uint64_t>(codec_->vocab_size());
  while (static_cast<int>(ids.size()) < count) {
    if (!words_.empty()) {
      ids.push_back(words_[rng.Below(words_.size())].id);
      continue;
    }
    auto id = static_cast<TokenId>(rng.Below(size));
    for (int tries = 0; tries < 100 && codec_->IsSpecial(id); ++tries) {
      id = static_cast<TokenId>(rng.Below(size));
    }
    ids.push_back(id);
  }
  return ids;
}

Result<BenchTurn> SyntheticPrompts::Turn(std::vector<TokenId> ids, int output_tokens,
                                         DatasetRng& rng) {
  BenchTurn turn;
  turn.input_tokens = static_cast<int>(ids.size());
  turn.output_tokens = output_tokens;
  if (token_ids_) {
    turn.token_ids = std::move(ids);
    return turn;
  }
  if (!words_.empty()) {
    turn.text = Join(ids);
    if (checked_bytes_ + turn.text.size() > kMaxCheckedBytes) return turn;
    checked_bytes_ += turn.text.size();
    auto encoded = codec_->Encode(turn.text);
    if (!encoded) return encoded.error();
    if (encoded->size() == ids.size()) return turn;
  }
  auto text = FitText(std::move(ids), rng);
  if (!text) return text.error();
  turn.text = std::move(*text);
  return turn;
}

// Decodes and encodes again what the text really is, cut or padded to the length. A tail that never
// settles (half a character, say) is replaced, from the third time on by more and more.
Result<std::string> SyntheticPrompts::FitText(std::vector<TokenId> ids, DatasetRng& rng) {
  const std::size_t target = ids.size();
  std::size_t encoded_size = 0;
  for (int fit = 0; fit < kMaxFits; ++fit) {
    auto text = codec_->Decode(ids);
    if (!text) return text.error();
    auto encoded = codec_->Encode(*text);
    if (!encoded) return encoded.error();
    if (encoded->size() == target) return std::move(*text);
    encoded_size = encoded->size();
    ids = std::move(*encoded);
    ids.resize(std::min(ids.size(), target));
    if (fit >= 2) ids.resize(ids.size() - std::min(ids.size(), 2 * static_cast<std::size_t>(fit)));
    const auto fill = Draw(rng, static_cast<int>(target - ids.size()));
    ids.insert(ids.end(), fill.begin(), fill.end());
  }
  return ConfigFault(
      fmt::format("found no prompt of exactly {} tokens in {} tries (the last had {}): this "
                  "tokenizer does not encode its own text in the same way again; send token ids "
                  "instead of text",
                  target, kMaxFits, encoded_size));
}

}  // namespace quire
