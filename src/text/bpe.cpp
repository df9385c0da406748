#include "text/bpe.h"

#include <algorithm>
#include <bit>
#include <string>
#include <utility>

#include "base/utf8.h"

namespace quire {
namespace {

constexpr std::uint32_t kEnd = ~std::uint32_t{0};
// Longer pieces are cut: a symbol's index has 32 bits.
constexpr std::size_t kMaxPieceBytes = std::size_t{1} << 30;

// Ranks are used from the lowest, at the same rank from the left. The heap's front is its greatest
// element.
template <class Candidate>
bool IsLater(const Candidate& a, const Candidate& b) {
  return a.rank != b.rank ? a.rank > b.rank : a.symbol > b.symbol;
}

std::uint64_t PairOf(TokenId left, TokenId right) {
  return (std::uint64_t{static_cast<std::uint32_t>(left)} << 32) |
         static_cast<std::uint32_t>(right);
}

Result<BpeVocab> ParseVocab(const JsonView& config) {
  const Result<JsonView> field = config.Require("vocab");
  if (!field) return field.error();
  if (!field->json().is_object()) return field->Fault("must be an object");
  const auto& object = field->json().get_ref<const Json::object_t&>();
  BpeVocab vocab(object.size());
  for (const auto& [token, id] : object) {
    const Result<TokenId> parsed = JsonView(id, "").AsTokenId();
    if (!parsed)
      return field->Fault("must give " + Quoted(token) + " an id of 0 to " +
                          std::to_string(kMaxTokenId));
    if (vocab.Add(token, *parsed) == BpeVocab::Added::kIdTaken)
      return field->Fault("has the id " + std::to_string(*parsed) + " twice, again for " +
                          Quoted(token));
  }
  return vocab;
}

struct MergeText {
  std::string_view left;
  std::string_view right;
};

// "a b" or ["a", "b"].
std::optional<MergeText> ParseMerge(const Json& merge) {
  if (merge.is_string()) {
    const std::string_view text = merge.get_ref<const std::string&>();
    const std::size_t space = text.find(' ');
    if (space == text.npos || text.find(' ', space + 1) != text.npos) return std::nullopt;
    return MergeText{text.substr(0, space), text.substr(space + 1)};
  }
  if (!merge.is_array() || merge.size() != 2 || !merge[0].is_string() || !merge[1].is_string())
    return std::nullopt;
  return MergeText{merge[0].get_ref<const std::string&>(), merge[1].get_ref<const std::string&>()};
}

bool IsVersionLine(const Json& merge) {
  return merge.is_string() && merge.get_ref<const std::string&>().starts_with("#version");
}

Result<BpeMerges> ParseMerges(const JsonView& config, const BpeVocab& vocab) {
  const Result<JsonView> field = config.Array("merges");
  if (!field) return field.error();
  BpeMerges merges(field->json().size());
  std::string joined;
  std::uint32_t rank = 0;
  for (std::size_t i = 0; i < field->json().size(); ++i) {
    const Json& merge = field->json()[i];
    if (IsVersionLine(merge)) continue;
    const std::optional<MergeText> text = ParseMerge(merge);
    if (!text) return field->At(i).Fault("must be two tokens");
    joined.assign(text->left).append(text->right);
    TokenId ids[3] = {};
    const std::string_view tokens[3] = {text->left, text->right, joined};
    for (std::size_t part = 0; part < 3; ++part) {
      ids[part] = vocab.Find(tokens[part]);
      if (ids[part] == BpeVocab::kNone)
        return field->At(i).Fault("needs " + Quoted(tokens[part]) + ", which is not in the vocab");
    }
    merges.Set(ids[0], ids[1], {rank++, ids[2]});
  }
  return merges;
}

// What would change the ids and is not built must not be there.
Status CheckSupported(const JsonView& config) {
  const Result<std::string> type = config.StringOr("type", "BPE");
  if (!type) return type.error();
  if (*type != "BPE")
    return config.Fault("has the type " + Quoted(*type) + ", which is not supported");
  for (const std::string_view affix : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const Result<std::string> value = config.StringOr(affix, "");
    if (!value) return value.error();
    if (!value->empty()) return config.Find(affix)->Fault("is not supported unless empty");
  }
  const std::optional<JsonView> dropout = config.Find("dropout");
  if (dropout && (!dropout->json().is_number() || dropout->json().get<double>() != 0))
    return dropout->Fault("is not supported unless 0");
  return {};
}

}  // namespace

BpeMerges::BpeMerges(std::size_t expected)
    : slots_(std::bit_ceil(2 * expected + 16)), shift_(64 - std::countr_zero(slots_.size())) {}

std::size_t BpeMerges::SlotOf(std::uint64_t pair) const {
  const std::size_t mask = slots_.size() - 1;
  std::size_t at = (pair * 0x9E3779B97F4A7C15U) >> shift_;
  while (slots_[at].pair != kFree && slots_[at].pair != pair) at = (at + 1) & mask;
  return at;
}

void BpeMerges::Set(TokenId left, TokenId right, Merge merge) {
  const std::uint64_t pair = PairOf(left, right);
  slots_[SlotOf(pair)] = {pair, merge};
}

const BpeMerges::Merge* BpeMerges::Find(TokenId left, TokenId right) const {
  const Slot& slot = slots_[SlotOf(PairOf(left, right))];
  return slot.pair == kFree ? nullptr : &slot.merge;
}

BpeModel::BpeModel(BpeVocab vocab, BpeMerges merges)
    : vocab_(std::move(vocab)), merges_(std::move(merges)) {
  for (std::size_t code = 0; code < short_characters_.size(); ++code) {
    std::string character;
    AppendUtf8(character, static_cast<char32_t>(code));
    short_characters_[code] = vocab_.Find(character);
  }
  static constexpr char kHex[] = "0123456789ABCDEF";
  for (std::size_t byte = 0; byte < byte_ids_.size(); ++byte)
    byte_ids_[byte] =
        vocab_.Find(std::string("<0x") + kHex[byte >> 4] + kHex[byte & 15] + std::string(">"));
}

Result<BpeModel> BpeModel::Parse(const JsonView& config, const AddedTokens& added) {
  if (!config.json().is_object()) return config.Fault("must be an object");
  QUIRE_RETURN_IF_ERROR(CheckSupported(config));
  Result<BpeVocab> vocab = ParseVocab(config);
  if (!vocab) return vocab.error();
  Result<BpeMerges> merges = ParseMerges(config, *vocab);
  if (!merges) return merges.error();
  BpeModel model(*std::move(vocab), *std::move(merges));
  QUIRE_RETURN_IF_ERROR(model.ParseFlags(config));
  QUIRE_RETURN_IF_ERROR(model.ParseUnknown(config, added));
  return model;
}

Status BpeModel::ParseFlags(const JsonView& config) {
  const std::pair<std::string_view, bool*> flags[] = {{"fuse_unk", &fuse_unknown_},
                                                      {"byte_fallback", &byte_fallback_},
                                                      {"ignore_merges", &ignore_merges_}};
  for (const auto& [name, flag] : flags) {
    const Result<bool> value = config.BoolOr(name, false);
    if (!value) return value.error();
    *flag = *value;
  }
  return {};
}

Status BpeModel::ParseUnknown(const JsonView& config, const AddedTokens& added) {
  const std::optional<JsonView> field = config.Find("unk_token");
  if (!field) return {};
  const Result<std::string> token = field->AsString();
  if (!token) return token.error();
  unknown_id_ = vocab_.Find(*token);
  if (unknown_id_ != BpeVocab::kNone) return {};
  const AddedToken* found = added.FindContent(*token);
  if (found == nullptr) return field->Fault("is " + Quoted(*token) + ", which is not in the vocab");
  unknown_id_ = found->id;
  return {};
}

void BpeModel::Tokenize(std::string_view piece, Scratch& scratch, std::vector<TokenId>& ids) const {
  while (!piece.empty()) {
    std::string_view part = piece.substr(0, kMaxPieceBytes);
    if (part.size() < piece.size()) part.remove_suffix(IncompleteUtf8Tail(part));
    piece.remove_prefix(part.size());
    if (ignore_merges_) {
      const TokenId whole = vocab_.Find(part);
      if (whole != BpeVocab::kNone) {
        ids.push_back(whole);
        continue;
      }
    }
    Begin(part, scratch);
    MergeAll(scratch);
    for (const Scratch::Symbol& symbol : scratch.symbols_)
      if (symbol.id != BpeVocab::kNone) ids.push_back(symbol.id);
  }
}

// The characters of a piece as symbols: a token, the tokens of its bytes, or the unknown token.
void BpeModel::Begin(std::string_view piece, Scratch& scratch) const {
  scratch.symbols_.clear();
  bool pending_unknown = false;
  for (std::string_view rest = piece; !rest.empty();) {
    const Utf8Char next = DecodeUtf8(rest);
    AppendCharacter(rest.substr(0, next.length), next.code, pending_unknown, scratch);
    rest.remove_prefix(next.length);
  }
  if (pending_unknown) scratch.symbols_.push_back({unknown_id_, 0, 0});
  const auto count = static_cast<std::uint32_t>(scratch.symbols_.size());
  for (std::uint32_t i = 0; i < count; ++i) {
    scratch.symbols_[i].prev = i == 0 ? kEnd : i - 1;
    scratch.symbols_[i].next = i + 1 == count ? kEnd : i + 1;
  }
}

void BpeModel::AppendCharacter(std::string_view character, char32_t code, bool& pending_unknown,
                               Scratch& scratch) const {
  auto append = [&](TokenId id) { scratch.symbols_.push_back({id, 0, 0}); };
  const TokenId id =
      code < short_characters_.size() ? short_characters_[code] : vocab_.Find(character);
  if (id != BpeVocab::kNone) {
    if (std::exchange(pending_unknown, false)) append(unknown_id_);
    append(id);
    return;
  }
  if (byte_fallback_) {
    auto id_of = [&](char byte) { return byte_ids_[static_cast<unsigned char>(byte)]; };
    if (std::none_of(character.begin(), character.end(),
                     [&](char byte) { return id_of(byte) == BpeVocab::kNone; })) {
      for (const char byte : character) append(id_of(byte));
      return;
    }
  }
  if (unknown_id_ == BpeVocab::kNone) return;  // the library leaves it out
  if (pending_unknown && !fuse_unknown_) append(unknown_id_);
  pending_unknown = true;
}

void BpeModel::PushCandidate(Scratch& scratch, std::uint32_t left, std::uint32_t right) const {
  if (left == kEnd || right == kEnd) return;
  const BpeMerges::Merge* merge =
      merges_.Find(scratch.symbols_[left].id, scratch.symbols_[right].id);
  if (merge != nullptr) scratch.heap_.push_back({merge->rank, left, merge->result});
}

void BpeModel::MergeAll(Scratch& scratch) const {
  using Candidate = Scratch::Candidate;
  auto& symbols = scratch.symbols_;
  auto& heap = scratch.heap_;
  heap.clear();
  for (std::uint32_t i = 0; i + 1 < symbols.size(); ++i) PushCandidate(scratch, i, i + 1);
  std::make_heap(heap.begin(), heap.end(), IsLater<Candidate>);
  auto push = [&](std::uint32_t left, std::uint32_t right) {
    const std::size_t before = heap.size();
    PushCandidate(scratch, left, right);
    if (heap.size() != before) std::push_heap(heap.begin(), heap.end(), IsLater<Candidate>);
  };
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), IsLater<Candidate>);
    const Candidate best = heap.back();
    heap.pop_back();
    Scratch::Symbol& left = symbols[best.symbol];
    if (left.id == BpeVocab::kNone || left.next == kEnd) continue;
    Scratch::Symbol& right = symbols[left.next];
    // A candidate is stale where one of its two has merged with another meanwhile.
    const BpeMerges::Merge* merge = merges_.Find(left.id, right.id);
    if (merge == nullptr || merge->result != best.result) continue;
    left.id = best.result;
    left.next = right.next;
    right.id = BpeVocab::kNone;
    if (left.next != kEnd) symbols[left.next].prev = best.symbol;
    push(left.prev, best.symbol);
    push(best.symbol, left.next);
  }
}

}  // namespace quire
