// The division of attention's work: every row sees each of its keys once, whatever the shapes.
#include "backend/cuda/attention_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <random>
#include <tuple>

namespace quire::cuda {
namespace {

struct Sequences {
  std::vector<std::int32_t> query_start{0}, context_len, block_start{0};

  void Add(int context, int count) {
    query_start.push_back(query_start.back() + count);
    context_len.push_back(context);
    block_start.push_back(block_start.back() + (context + 15) / 16);
  }
  int size() const { return static_cast<int>(context_len.size()); }
};

using Key = std::tuple<int, int, int>;  // first token, first row, kv head

// Walks all workers' lists. Each piece must be in exactly one.
std::map<Key, std::vector<AttentionPiece>> Collect(std::span<const AttentionPiece> pieces,
                                                   const AttentionDivision& division) {
  std::map<Key, std::vector<AttentionPiece>> items;
  std::vector<bool> seen(pieces.size());
  for (int worker = 0; worker < division.workers; ++worker) {
    for (int i = worker; i >= 0;) {
      const auto at = static_cast<std::size_t>(i);
      const AttentionPiece& piece = pieces[at];
      EXPECT_FALSE(seen[at]);
      seen[at] = true;
      if (piece.num_rows > 0) {
        items[{piece.first_token, piece.first_row, piece.kv_head}].push_back(piece);
      } else {
        EXPECT_EQ(i, worker);
        EXPECT_EQ(piece.next, -1);
      }
      i = piece.next;
    }
  }
  EXPECT_EQ(std::count(seen.begin(), seen.end(), false), 0);
  return items;
}

void CheckItem(std::vector<AttentionPiece> pieces, const AttentionDivision& division,
               const AttentionStep& step, int sequence, int row, std::vector<int>& slot_uses) {
  const auto s = static_cast<std::size_t>(sequence);
  const int count = step.query_start[s + 1] - step.query_start[s];
  const int position = step.context_len[s] - count;
  const int rows = std::min(division.rows, count * step.group - row);
  const int end = position + (row + rows - 1) / step.group + 1;
  const int first =
      step.window > 0 ? std::max(0, position + row / step.group + 1 - step.window) : 0;
  ASSERT_FALSE(pieces.empty());
  std::sort(pieces.begin(), pieces.end(),
            [](const auto& a, const auto& b) { return a.slot < b.slot; });
  EXPECT_LE(std::min(pieces.front().begin, end), std::max(0, first));
  EXPECT_EQ(pieces.back().end, end);
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const AttentionPiece& piece = pieces[i];
    EXPECT_EQ(piece.slot, static_cast<int>(i));
    EXPECT_EQ(piece.num_slots, static_cast<int>(pieces.size()));
    EXPECT_EQ(piece.num_rows, rows);
    EXPECT_EQ(piece.position, position);
    EXPECT_EQ(piece.first_block, step.block_start[s]);
    EXPECT_EQ(piece.begin % division.tile_keys, 0);
    EXPECT_TRUE(i == 0 || piece.begin == pieces[i - 1].end);
    if (pieces.size() > 1) {
      EXPECT_LT(piece.begin, piece.end);
      ASSERT_LT(piece.first_slot + piece.slot, AttentionPlanner::MaxSlots(division));
      EXPECT_EQ(slot_uses[static_cast<std::size_t>(piece.first_slot + piece.slot)]++, 0);
    }
  }
}

void Check(const AttentionDivision& division, int group, int window, const Sequences& sequences) {
  AttentionStep step;
  step.query_start = sequences.query_start;
  step.context_len = sequences.context_len;
  step.block_start = sequences.block_start;
  step.group = group;
  step.window = window;
  std::vector<std::int32_t> all(static_cast<std::size_t>(sequences.size()));
  std::iota(all.begin(), all.end(), 0);
  AttentionPlanner planner;
  const auto pieces = planner.Plan(division, step, all);
  EXPECT_LE(
      static_cast<std::int64_t>(pieces.size()),
      AttentionPlanner::MaxPieces(division, group, sequences.size(), sequences.query_start.back()));
  auto items = Collect(pieces, division);
  std::vector<int> slot_uses(static_cast<std::size_t>(AttentionPlanner::MaxSlots(division)));
  std::size_t num_items = 0;
  for (int s = 0; s < sequences.size(); ++s) {
    const auto i = static_cast<std::size_t>(s);
    const int rows = (step.query_start[i + 1] - step.query_start[i]) * group;
    for (int row = 0; row < rows; row += division.rows) {
      for (int head = 0; head < division.kv_heads; ++head, ++num_items) {
        CheckItem(items[{step.query_start[i], row, head}], division, step, s, row, slot_uses);
      }
    }
  }
  EXPECT_EQ(items.size(), num_items);
}

TEST(AttentionPlanTest, EveryRowSeesItsKeysOnce) {
  std::mt19937 random(1);
  const auto below = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  for (int i = 0; i < 1000; ++i) {
    const bool decode = i % 2 == 0;
    AttentionDivision division;
    division.rows = decode ? 16 : 128;
    division.tile_keys = decode ? 16 : 64;
    division.min_tiles = 1 + below(8);
    division.overhead = below(4);
    division.slack = 4 + below(20);
    division.workers = 1 + below(70);
    division.kv_heads = decode ? 1 : 1 + below(4);
    division.split = below(5) != 0;
    Sequences sequences;
    const int num_sequences = 1 + below(40);
    for (int s = 0; s < num_sequences; ++s) {
      const int count = below(3) > 0 ? 1 : 1 + below(decode ? 2 : 300);
      const bool padding = count == 1 && below(10) == 0;
      sequences.Add(padding ? 0 : count + (below(4) > 0 ? below(3000) : 0), count);
    }
    Check(division, 1 + below(8), below(3) > 0 ? 0 : 1 + below(500), sequences);
  }
}

TEST(AttentionPlanTest, OneLongSequenceIsCutForAllWorkers) {
  AttentionDivision division;
  division.min_tiles = 8;
  division.overhead = 2;
  division.workers = 66;
  Sequences sequences;
  sequences.Add(32768, 1);
  Check(division, 7, 0, sequences);
  AttentionStep step;
  step.query_start = sequences.query_start;
  step.context_len = sequences.context_len;
  step.block_start = sequences.block_start;
  step.group = 7;
  const std::int32_t all[] = {0};
  AttentionPlanner planner;
  EXPECT_GE(planner.Plan(division, step, all)[0].num_slots, 40);
  division.split = false;
  EXPECT_EQ(planner.Plan(division, step, all)[0].num_slots, 1);
}

}  // namespace
}  // namespace quire::cuda
