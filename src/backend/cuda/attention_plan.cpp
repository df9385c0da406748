#include "backend/cuda/attention_plan.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace quire::cuda {
std::int64_t AttentionPlanner::MaxPieces(const AttentionDivision& division, int group,
                                         int max_sequences, int max_tokens) {
  const std::int64_t tiles = std::int64_t{max_tokens} * group / division.rows + max_sequences;
  return tiles * division.kv_heads + division.workers + MaxSlots(division);
}

void AttentionPlanner::ListItems(const AttentionDivision& division, const AttentionStep& step,
                                 std::span<const std::int32_t> sequences) {
  items_.clear();
  remaining_ = 0;
  for (const std::int32_t s : sequences) {
    const auto i = static_cast<std::size_t>(s);
    const int count = step.query_start[i + 1] - step.query_start[i];
    const int num_rows = count * step.group;
    Item item;
    item.piece.first_block = step.block_start[i];
    item.piece.first_token = step.query_start[i];
    item.piece.position = step.context_len[i] - count;
    for (int row = 0; row < num_rows; row += division.rows) {
      AttentionPiece& piece = item.piece;
      piece.first_row = row;
      piece.num_rows = std::min(division.rows, num_rows - row);
      piece.end = piece.position + (row + piece.num_rows - 1) / step.group + 1;
      const int first = piece.position + row / step.group + 1 - step.window;
      piece.begin =
          step.window > 0 ? std::max(0, first) / division.tile_keys * division.tile_keys : 0;
      piece.begin = std::min(piece.begin, piece.end);  // padding: no keys
      item.tiles = (piece.end - piece.begin + division.tile_keys - 1) / division.tile_keys;
      remaining_ += std::int64_t{item.tiles + division.overhead} * division.kv_heads;
      items_.push_back(item);
    }
  }
}

void AttentionPlanner::NextWorker() {
  remaining_ = std::max<std::int64_t>(0, remaining_ - load_);
  ++worker_;
  last_ = -1;
  load_ = 0;
  const int left = std::max(1, division_.workers - worker_);
  quota_ = static_cast<int>((remaining_ + left - 1) / left);
}

void AttentionPlanner::Give(const AttentionPiece& piece, int tiles) {
  auto index = static_cast<int>(pieces_.size());
  if (last_ < 0) {
    index = worker_;
    pieces_[static_cast<std::size_t>(index)] = piece;
  } else {
    pieces_[static_cast<std::size_t>(last_)].next = index;
    pieces_.push_back(piece);
  }
  last_ = index;
  load_ += tiles + division_.overhead;
  item_pieces_.push_back(index);
}

// Tiles that one more piece of this worker may have.
int AttentionPlanner::Room() const {
  const int room = quota_ - load_ - division_.overhead;
  return load_ == 0 ? std::max(room, division_.min_tiles) : room;
}

// Whether this worker computes all of these tiles: where they fit, or where that is about as even
// as to split them.
bool AttentionPlanner::FitsWhole(int tiles) const {
  const int excess = tiles - Room();
  if (excess <= 0 || worker_ + 1 >= division_.workers) return true;
  return excess <= Room() && excess <= std::max(division_.min_tiles - 1, quota_ / division_.slack);
}

void AttentionPlanner::Divide(const Item& item, int kv_head) {
  AttentionPiece piece = item.piece;
  piece.kv_head = kv_head;
  piece.first_slot = num_slots_;
  int tiles = item.tiles;
  item_pieces_.clear();
  while (!FitsWhole(tiles)) {
    const int take = std::min(Room(), tiles - division_.min_tiles);
    if (division_.split && take >= division_.min_tiles) {
      piece.end = piece.begin + take * division_.tile_keys;
      Give(piece, take);
      remaining_ += division_.overhead;
      ++piece.slot;
      tiles -= take;
      piece.begin = piece.end;
      piece.end = item.piece.end;
    } else if (load_ == 0) {
      break;  // more than a worker's part, but not to be split
    }
    NextWorker();
  }
  Give(piece, tiles);
  EndItem();
}

void AttentionPlanner::EndItem() {
  const auto parts = static_cast<int>(item_pieces_.size());
  if (parts == 1) return;
  for (const int index : item_pieces_) pieces_[static_cast<std::size_t>(index)].num_slots = parts;
  num_slots_ += parts;
}

// The size of equal pieces, of which there is at most one a worker; 0 where contiguous runs of keys
// are clearly more even.
int AttentionPlanner::EqualTiles() const {
  const std::int64_t workers = division_.workers / division_.kv_heads;
  const auto num_items = static_cast<std::int64_t>(items_.size());
  if (!division_.split || num_items > workers) return 0;
  std::int64_t total = 0;
  int longest = 1;
  for (const Item& item : items_) {
    total += item.tiles;
    longest = std::max(longest, item.tiles);
  }
  // Adding pieces up costs about as much as their tiles where there are as many of the ones as of
  // the others.
  const int least = std::max(division_.min_tiles, static_cast<int>(std::sqrt(longest)));
  int low = least, high = std::max(least, longest);  // the answer is in [low, high]
  while (low < high) {
    const int middle = (low + high) / 2;
    std::int64_t parts = 0;
    for (const Item& item : items_) parts += std::max(1, (item.tiles + middle - 1) / middle);
    if (parts <= workers) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  const std::int64_t even = (total + division_.overhead * num_items) / workers;
  return low <= least || low <= even + even / 8 ? low : 0;
}

void AttentionPlanner::DivideEqually(const Item& item, int kv_head, int tiles) {
  AttentionPiece piece = item.piece;
  piece.kv_head = kv_head;
  piece.first_slot = num_slots_;
  const int parts = std::max(1, (item.tiles + tiles - 1) / tiles);
  const auto tile = [&](int part) {
    return static_cast<int>(std::int64_t{item.tiles} * part / parts);
  };
  item_pieces_.clear();
  for (int part = 0; part < parts; ++part) {
    piece.slot = part;
    piece.begin = item.piece.begin + tile(part) * division_.tile_keys;
    piece.end = std::min(item.piece.end, item.piece.begin + tile(part + 1) * division_.tile_keys);
    Give(piece, tile(part + 1) - tile(part));
    NextWorker();
  }
  EndItem();
}

std::span<const AttentionPiece> AttentionPlanner::Plan(const AttentionDivision& division,
                                                       const AttentionStep& step,
                                                       std::span<const std::int32_t> sequences) {
  division_ = division;
  pieces_.assign(static_cast<std::size_t>(division.workers), {});
  ListItems(division, step, sequences);
  num_slots_ = 0;
  worker_ = -1;
  load_ = 0;
  NextWorker();
  const int tiles = EqualTiles();
  for (int head = 0; head < division.kv_heads; ++head) {
    for (const Item& item : items_) {
      if (tiles > 0) {
        DivideEqually(item, head, tiles);
      } else {
        Divide(item, head);
      }
    }
  }
  QUIRE_CHECK(num_slots_ <= MaxSlots(division));
  return pieces_;
}

}  // namespace quire::cuda
