// The numbers that the parts of the engine pass to each other, one type each.
#pragma once

#include <cstdint>
#include <functional>

namespace quire {

// A token id of the model's vocabulary. An alias, not a class: token ids travel in bulk through
// JSON, messages and device buffers as plain int32.
using TokenId = std::int32_t;

// Strong ids do not mix with each other or with counts.
template <class Tag, class Rep>
struct Id {
  Rep value{};
  friend bool operator==(Id a, Id b) { return a.value == b.value; }
  friend bool operator!=(Id a, Id b) { return a.value != b.value; }
  friend bool operator<(Id a, Id b) { return a.value < b.value; }
};

using BlockId = Id<struct BlockIdTag, std::int32_t>;  // a block of the KV cache
using RequestId =
    Id<struct RequestIdTag, std::uint64_t>;         // a request, unique while a front end lives
using SlotId = Id<struct SlotIdTag, std::int32_t>;  // a running sequence's row of device state
using Rank = Id<struct RankTag, std::int32_t>;      // a GPU's place in its replica

}  // namespace quire

template <class Tag, class Rep>
struct std::hash<quire::Id<Tag, Rep>> {
  std::size_t operator()(quire::Id<Tag, Rep> id) const { return std::hash<Rep>()(id.value); }
};
