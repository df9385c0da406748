// How the attention of a step is divided among blocks of threads. Host code, no CUDA.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "backend/cuda/kernels/attention.h"

namespace quire::cuda {

// What a kernel wants its work to be like.
struct AttentionDivision {
  int rows = 16;       // packed rows of a piece at most
  int tile_keys = 16;  // pieces begin at multiples of it
  int min_tiles = 1;   // of a piece whose rows are split over several
  int overhead = 0;    // what a piece costs beside its tiles, in tiles
  int slack = 8;       // a worker may get 1/slack more than its part, to keep rows whole
  int workers = 1;
  int kv_heads = 1;   // that the pieces name one by one
  bool split = true;  // whether a row's keys may be spread over pieces
};

// What a step's sequences look like to one layer.
struct AttentionStep {
  std::span<const std::int32_t> query_start, context_len, block_start;
  int group = 1;
  int window = 0;
};

// Divides sequences among workers. Where there are fewer tiles of rows than workers, each is cut
// into equal pieces, one a worker; else each worker gets a contiguous run of keys of about equal
// cost, whole rows where that is nearly as even.
class AttentionPlanner {
 public:
  // Bounds of what Plan can make.
  static std::int64_t MaxPieces(const AttentionDivision& division, int group, int max_sequences,
                                int max_tokens);
  static int MaxSlots(const AttentionDivision& division) { return 2 * division.workers; }

  // `sequences`: indices. The result is valid until the next call: element w is the first piece of
  // worker w, which has no rows where there is no work for it.
  std::span<const AttentionPiece> Plan(const AttentionDivision& division, const AttentionStep& step,
                                       std::span<const std::int32_t> sequences);

 private:
  struct Item {
    AttentionPiece piece;
    int tiles = 0;
  };
  void ListItems(const AttentionDivision& division, const AttentionStep& step,
                 std::span<const std::int32_t> sequences);
  void Give(const AttentionPiece& piece, int tiles);
  void NextWorker();
  int Room() const;
  bool FitsWhole(int tiles) const;
  void Divide(const Item& item, int kv_head);
  int EqualTiles() const;
  void DivideEqually(const Item& item, int kv_head, int tiles);
  void EndItem();

  AttentionDivision division_;
  std::vector<Item> items_;
  std::vector<AttentionPiece> pieces_;
  std::vector<int> item_pieces_;  // of the item that is being divided
  std::int64_t remaining_ = 0;    // cost of what the workers from worker_ on must compute
  int worker_ = 0;
  int last_ = -1;  // the worker's last piece, or −1
  int quota_ = 0, load_ = 0;
  int num_slots_ = 0;
};

}  // namespace quire::cuda
