#include "text/bpe_vocab.h"

#include <bit>
#include <functional>

namespace quire {
namespace {

std::uint32_t HashOf(std::string_view token) {
  return static_cast<std::uint32_t>(std::hash<std::string_view>()(token));
}

}  // namespace

BpeVocab::BpeVocab(std::size_t expected) : slots_(std::bit_ceil(2 * expected + 16)) {
  entries_.reserve(expected);
  text_.reserve(8 * expected);
}

std::size_t BpeVocab::SlotOf(std::string_view token) const {
  const std::uint32_t hash = HashOf(token);
  const std::size_t mask = slots_.size() - 1;
  std::size_t at = hash & mask;
  while (slots_[at].entry_plus_1 != 0 &&
         (slots_[at].hash != hash || TextOf(entries_[slots_[at].entry_plus_1 - 1]) != token))
    at = (at + 1) & mask;
  return at;
}

void BpeVocab::Grow() {
  std::vector<Slot> old(slots_.size() * 2);
  old.swap(slots_);
  const std::size_t mask = slots_.size() - 1;
  for (const Slot& slot : old) {
    if (slot.entry_plus_1 == 0) continue;
    std::size_t at = slot.hash & mask;
    while (slots_[at].entry_plus_1 != 0) at = (at + 1) & mask;
    slots_[at] = slot;
  }
}

BpeVocab::Added BpeVocab::Add(std::string_view token, TokenId id) {
  const auto index = static_cast<std::size_t>(id);
  if (index < entry_of_id_.size() && entry_of_id_[index] != 0) return Added::kIdTaken;
  std::size_t at = SlotOf(token);
  if (slots_[at].entry_plus_1 == 0) {
    if (2 * (entries_.size() + 1) > slots_.size()) {
      Grow();
      at = SlotOf(token);
    }
    entries_.push_back({text_.size(), token.size(), kNone});
    text_.append(token);
    slots_[at] = {HashOf(token), static_cast<std::uint32_t>(entries_.size())};
  }
  const std::uint32_t entry_plus_1 = slots_[at].entry_plus_1;
  Entry& entry = entries_[entry_plus_1 - 1];
  if (entry.id != kNone) entry_of_id_[static_cast<std::size_t>(entry.id)] = 0;
  entry.id = id;
  if (index >= entry_of_id_.size()) entry_of_id_.resize(index + 1);
  entry_of_id_[index] = entry_plus_1;
  return Added::kYes;
}

TokenId BpeVocab::Find(std::string_view token) const {
  const Slot& slot = slots_[SlotOf(token)];
  return slot.entry_plus_1 == 0 ? kNone : entries_[slot.entry_plus_1 - 1].id;
}

std::optional<std::string_view> BpeVocab::TokenOf(TokenId id) const {
  if (id < 0 || id >= size()) return std::nullopt;
  const std::uint32_t entry_plus_1 = entry_of_id_[static_cast<std::size_t>(id)];
  if (entry_plus_1 == 0) return std::nullopt;
  return TextOf(entries_[entry_plus_1 - 1]);
}

}  // namespace quire
