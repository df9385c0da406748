#include "cache/kv_cache_manager.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace quire {
namespace {

std::vector<TokenId> Tokens(int count, TokenId first = 0) {
  std::vector<TokenId> tokens;
  for (int i = 0; i < count; ++i) tokens.push_back(first + i);
  return tokens;
}

constexpr std::int32_t kAll = INT32_MAX;

KvCacheConfig Small(std::int64_t num_blocks) {
  KvCacheConfig config;
  config.num_blocks = num_blocks;
  config.block_size = 4;
  return config;
}

// Computes and publishes the tokens, and lets them go.
void Keep(KvCacheManager& cache, const std::vector<TokenId>& tokens, const std::string& salt = "") {
  BlockTable table = cache.Match(tokens, salt, kAll);
  ASSERT_TRUE(cache.Reserve(table, static_cast<std::int32_t>(tokens.size())));
  std::vector<BlockId> replaced;
  cache.Publish(table, tokens, replaced);
  EXPECT_TRUE(replaced.empty());
}

std::int32_t Matched(KvCacheManager& cache, const std::vector<TokenId>& tokens,
                     const std::string& salt = "") {
  return cache.Match(tokens, salt, kAll).num_blocks();
}

TEST(KvCacheManager, KeepsTheLastTokenOfAFullyCachedPrompt) {
  KvCacheManager cache(Small(8));
  Keep(cache, Tokens(12));
  EXPECT_EQ(Matched(cache, Tokens(12)), 2);
  EXPECT_EQ(Matched(cache, Tokens(13)), 3);
  EXPECT_EQ(cache.Match(Tokens(13), "", 11).num_blocks(), 2);
  EXPECT_EQ(Matched(cache, {}), 0);
}

TEST(KvCacheManager, SaltsDoNotShare) {
  KvCacheManager cache(Small(8));
  Keep(cache, Tokens(9), "mine");
  EXPECT_EQ(Matched(cache, Tokens(9)), 0);
  EXPECT_EQ(Matched(cache, Tokens(9), "yours"), 0);
  EXPECT_EQ(Matched(cache, Tokens(9), "mine"), 2);
}

TEST(KvCacheManager, EqualHashesAreNotEqualPrefixes) {
  KvCacheConfig config = Small(8);
  config.hash_bits = 0;
  KvCacheManager cache(config);
  Keep(cache, Tokens(9));
  EXPECT_EQ(Matched(cache, Tokens(9)), 2);
  EXPECT_EQ(Matched(cache, Tokens(9, 1)), 0);
  EXPECT_EQ(Matched(cache, Tokens(9, 4)), 0) << "the second block's tokens, but at the beginning";
  EXPECT_EQ(Matched(cache, Tokens(9), "salt"), 0);
}

TEST(KvCacheManager, ReserveIsAllOrNothing) {
  KvCacheManager cache(Small(3));
  BlockTable a = cache.Match(Tokens(8), "", kAll);
  EXPECT_TRUE(cache.Reserve(a, 8));
  BlockTable b = cache.Match(Tokens(8, 50), "", kAll);
  EXPECT_FALSE(cache.Reserve(b, 8));
  EXPECT_EQ(b.num_blocks(), 0);
  EXPECT_EQ(cache.num_free_blocks(), 1);
  EXPECT_TRUE(cache.Reserve(b, 4));
  cache.Release(a);
  EXPECT_TRUE(cache.Reserve(b, 12));
  EXPECT_EQ(cache.num_used_blocks(), 3);
}

TEST(KvCacheManager, EvictsTheLeastRecentChildrenFirst) {
  KvCacheManager cache(Small(4));
  Keep(cache, Tokens(8));
  Keep(cache, Tokens(8, 100));
  EXPECT_EQ(Matched(cache, Tokens(9)), 2);  // which makes them the recent ones
  BlockTable other = cache.Match(Tokens(4, 200), "", kAll);
  ASSERT_TRUE(cache.Reserve(other, 4));
  EXPECT_EQ(Matched(cache, Tokens(9, 100)), 1);
  EXPECT_EQ(Matched(cache, Tokens(9)), 2);
  // The look at 100… made its remaining block recent, then that at 0….
  ASSERT_TRUE(cache.Reserve(other, 8));
  EXPECT_EQ(Matched(cache, Tokens(9, 100)), 0);
  EXPECT_EQ(Matched(cache, Tokens(9)), 2);
}

TEST(KvCacheManager, RemapsToTheBlockThatIsThere) {
  KvCacheManager cache(Small(8));
  BlockTable a = cache.Match(Tokens(9), "", kAll);
  BlockTable b = cache.Match(Tokens(9), "", kAll);
  ASSERT_TRUE(cache.Reserve(a, 9) && cache.Reserve(b, 9));
  std::vector<BlockId> replaced;
  cache.Publish(a, Tokens(9), replaced);
  EXPECT_TRUE(replaced.empty());
  const std::vector<BlockId> before(b.blocks().begin(), b.blocks().begin() + 2);
  cache.Publish(b, Tokens(9), replaced);
  EXPECT_EQ(replaced, before);
  EXPECT_EQ(b.blocks()[0], a.blocks()[0]);
  EXPECT_EQ(b.blocks()[1], a.blocks()[1]);
  EXPECT_NE(b.blocks()[2], a.blocks()[2]);
  EXPECT_EQ(cache.NumPrivateBlocks(b), 1);
  EXPECT_EQ(cache.num_free_blocks(), 2)
      << "the duplicates are held until the steps that read them retire";
  for (const BlockId block : replaced) cache.Drop(block);
  EXPECT_EQ(cache.num_free_blocks(), 4);
  cache.CheckInvariants();
}

TEST(KvCacheManager, ResetForgetsHeldBlocksToo) {
  KvCacheManager cache(Small(8));
  Keep(cache, Tokens(8));
  BlockTable running = cache.Match(Tokens(9), "", kAll);
  ASSERT_TRUE(cache.Reserve(running, 12));
  cache.ResetPrefixCache();
  cache.CheckInvariants();
  std::vector<BlockId> replaced;
  cache.Publish(running, Tokens(12), replaced);
  EXPECT_EQ(cache.num_cached_blocks(), 0);
  EXPECT_EQ(Matched(cache, Tokens(9)), 0);
  cache.Release(running);
  EXPECT_EQ(cache.num_used_blocks(), 0);
  cache.CheckInvariants();
}

TEST(KvCacheManager, WithoutPrefixCachingNothingIsFound) {
  KvCacheConfig config = Small(8);
  config.enable_prefix_caching = false;
  KvCacheManager cache(config);
  Keep(cache, Tokens(9));
  EXPECT_EQ(Matched(cache, Tokens(9)), 0);
  cache.CheckInvariants();
}

TEST(KvCacheManager, CountsInTokens) {
  KvCacheManager cache(Small(8));
  cache.CountQuery(10, 8);
  cache.CountQuery(5, 0);
  EXPECT_EQ(cache.num_queries(), 15U);
  EXPECT_EQ(cache.num_hits(), 8U);
}

// The naive model: every block says who holds it, what prefix it keeps and when it was let go.
struct ModelBlock {
  int references = 0;
  std::optional<std::string> prefix;  // salt and all tokens up to its end
  std::uint64_t let_go = 0;
};

struct ModelTable {
  BlockTable table;
  std::string salt;
  std::vector<TokenId> tokens;  // that it will compute
  std::int32_t computed = 0;
  std::int32_t published = 0;
  std::uint64_t epoch = 0;
};

// Owns one cache and the model of it, and does random things to both.
class Round {
 public:
  explicit Round(std::uint64_t seed) : random_(seed) {
    config_.num_blocks = Draw(3, 32);
    config_.block_size = 1 << Draw(0, 2);
    config_.hash_seed = seed;
    config_.hash_bits = Draw(0, 2) == 0 ? Draw(0, 3) : 64;
    cache_ = std::make_unique<KvCacheManager>(config_);
    blocks_.resize(static_cast<std::size_t>(config_.num_blocks));
  }

  void Operate() {
    const int choice = Draw(0, 99);
    if (choice < 20 && tables_.size() < 6) {
      Match();
    } else if (choice < 55 && !tables_.empty()) {
      Compute(Any());
    } else if (choice < 80 && !tables_.empty()) {
      Publish(Any());
    } else if (choice < 92 && !tables_.empty()) {
      Release();
    } else if (choice < 99) {
      if (!replaced_.empty()) DropReplaced();
    } else if (Draw(0, 19) == 0) {
      Reset();
    }
    Compare();
  }

 private:
  int Draw(int low, int high) {
    return low + static_cast<int>(random_() % static_cast<std::uint64_t>(high - low + 1));
  }
  ModelTable& Any() {
    return tables_[static_cast<std::size_t>(Draw(0, static_cast<int>(tables_.size()) - 1))];
  }
  ModelBlock& At(BlockId block) { return blocks_[static_cast<std::size_t>(block.value)]; }

  std::string Prefix(const ModelTable& table, std::int32_t num_blocks) const {
    std::string prefix = table.salt + ":";
    for (std::int32_t i = 0; i < num_blocks * config_.block_size; ++i)
      prefix += static_cast<char>('0' + table.tokens[static_cast<std::size_t>(i)]);
    return prefix;
  }

  std::optional<BlockId> Find(const std::string& prefix) const {
    for (std::size_t i = 0; i < blocks_.size(); ++i)
      if (blocks_[i].prefix == prefix) return BlockId{static_cast<std::int32_t>(i)};
    return std::nullopt;
  }

  void Match() {
    ModelTable added;
    added.epoch = epoch_;
    if (Draw(0, 2) == 0) added.salt = "s";
    // A vocabulary of two makes many prefixes meet.
    for (int i = Draw(1, 24); i > 0; --i) added.tokens.push_back(Draw(0, 5) == 0 ? 1 : 0);
    const std::int32_t most = Draw(0, 3) == 0 ? Draw(0, 24) : kAll;
    added.table = cache_->Match(added.tokens, added.salt, most);
    const std::int32_t limit =
        std::min(most, static_cast<std::int32_t>(added.tokens.size()) - 1) / config_.block_size;
    std::vector<BlockId> expected;
    while (std::ssize(expected) < limit) {
      const auto block = Find(Prefix(added, static_cast<std::int32_t>(expected.size()) + 1));
      if (!block) break;
      ++At(*block).references;
      expected.push_back(*block);
    }
    ASSERT_TRUE(std::ranges::equal(added.table.blocks(), expected));
    added.published = static_cast<std::int32_t>(expected.size());
    added.computed = added.published * config_.block_size;
    tables_.push_back(std::move(added));
  }

  void Compute(ModelTable& table) {
    const auto all = static_cast<std::int32_t>(table.tokens.size());
    const std::int32_t end = std::min(all, table.computed + Draw(1, 8));
    const std::int32_t before = table.table.num_blocks();
    const std::int32_t missing =
        std::max(0, (end + config_.block_size - 1) / config_.block_size - before);
    const auto available = std::ranges::count_if(
        blocks_, [](const ModelBlock& block) { return block.references == 0; });
    const bool reserved = cache_->Reserve(table.table, end);
    ASSERT_EQ(reserved, missing <= available);
    if (!reserved) {
      ASSERT_EQ(table.table.num_blocks(), before);
      return;
    }
    for (std::int32_t i = before; i < table.table.num_blocks(); ++i)
      TakeInModel(table.table.blocks()[static_cast<std::size_t>(i)]);
    table.computed = end;
  }

  // The block was free, or all others are taken and it is the one let go the longest time ago.
  void TakeInModel(BlockId taken) {
    ModelBlock& block = At(taken);
    ASSERT_EQ(block.references, 0);
    if (block.prefix) {
      for (const ModelBlock& other : blocks_) {
        if (other.references > 0) continue;
        ASSERT_TRUE(other.prefix.has_value()) << "evicted although a block was free";
        ASSERT_LE(block.let_go, other.let_go);
      }
    }
    block.references = 1;
    block.prefix.reset();
  }

  void Publish(ModelTable& table) {
    std::vector<BlockId> old(table.table.blocks().begin(), table.table.blocks().end());
    std::vector<BlockId> replaced;
    const auto tokens = std::span(table.tokens).first(static_cast<std::size_t>(table.computed));
    cache_->Publish(table.table, tokens, replaced);
    std::vector<BlockId> expected_replaced;
    if (table.epoch == epoch_) {
      for (; table.published < table.computed / config_.block_size; ++table.published) {
        const std::string prefix = Prefix(table, table.published + 1);
        BlockId& block = old[static_cast<std::size_t>(table.published)];
        if (const auto same = Find(prefix)) {
          ++At(*same).references;
          expected_replaced.push_back(std::exchange(block, *same));
        } else {
          At(block).prefix = prefix;
        }
      }
    }
    ASSERT_EQ(replaced, expected_replaced);
    ASSERT_TRUE(std::ranges::equal(table.table.blocks(), old));
    replaced_.insert(replaced_.end(), replaced.begin(), replaced.end());
  }

  void LetGo(BlockId block) {
    if (--At(block).references == 0) At(block).let_go = ++now_;
  }

  void Release() {
    const auto index = Draw(0, static_cast<int>(tables_.size()) - 1);
    ModelTable& table = tables_[static_cast<std::size_t>(index)];
    const auto blocks = table.table.blocks();
    for (std::size_t i = blocks.size(); i > 0; --i) LetGo(blocks[i - 1]);
    if (Draw(0, 1) == 0) cache_->Release(table.table);  // else the destructor does
    tables_.erase(tables_.begin() + index);
  }

  void DropReplaced() {
    cache_->Drop(replaced_.back());
    LetGo(replaced_.back());
    replaced_.pop_back();
  }

  void Reset() {
    cache_->ResetPrefixCache();
    ++epoch_;
    for (ModelBlock& block : blocks_) block.prefix.reset();
  }

  void Compare() {
    cache_->CheckInvariants();
    for (const ModelTable& table : tables_) cache_->CheckTable(table.table);
    std::int64_t used = 0;
    std::int64_t cached = 0;
    for (std::size_t i = 0; i < blocks_.size(); ++i) {
      used += blocks_[i].references > 0 ? 1 : 0;
      cached += blocks_[i].prefix ? 1 : 0;
      ASSERT_EQ(cache_->References(BlockId{static_cast<std::int32_t>(i)}), blocks_[i].references);
    }
    ASSERT_EQ(cache_->num_used_blocks(), used);
    ASSERT_EQ(cache_->num_cached_blocks(), cached);
  }

  std::mt19937_64 random_;
  KvCacheConfig config_;
  std::unique_ptr<KvCacheManager> cache_;
  std::vector<ModelBlock> blocks_;
  std::vector<ModelTable> tables_;
  std::vector<BlockId> replaced_;
  std::uint64_t now_ = 0;
  std::uint64_t epoch_ = 0;
};

TEST(KvCacheManagerFuzz, AgreesWithANaiveModel) {
  const char* wanted = std::getenv("QUIRE_FUZZ_OPERATIONS");
  const std::int64_t operations = wanted != nullptr ? std::atoll(wanted) : 1'000'000;
  constexpr std::int64_t kPerRound = 2000;
  for (std::int64_t done = 0; done < operations; done += kPerRound) {
    SCOPED_TRACE("seed " + std::to_string(done));
    Round round(static_cast<std::uint64_t>(done));
    for (int i = 0; i < kPerRound; ++i) {
      round.Operate();
      if (::testing::Test::HasFailure()) return;
    }
  }
}

}  // namespace
}  // namespace quire
