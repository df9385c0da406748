// The scheduler against a naive model: whatever else runs, a request gets the tokens that it gets
// alone.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <iterator>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "cache/kv_cache_manager.h"
#include "sched/scheduler.h"
#include "sched/scheduler_test_device.h"

namespace quire {
namespace {

constexpr TokenId kVocab = 48;
const std::vector<TokenId> kEos = {0};

struct Answer {
  std::vector<TokenId> tokens;
  FinishReason reason = FinishReason::kNone;
  TokenId stop_token = -1;
};

// What the request gets when it runs alone, by the plainest loop.
Answer RunAlone(const Request& request) {
  const SamplingParams& sampling = request.sampling;
  std::vector<TokenId> stop_tokens = sampling.stop_token_ids;
  if (!sampling.ignore_eos) stop_tokens.insert(stop_tokens.end(), kEos.begin(), kEos.end());
  std::uint64_t hash = HashSalt(request.cache_salt);
  for (const TokenId token : request.prompt) hash = MixToken(hash, token);
  Answer answer;
  while (answer.reason == FinishReason::kNone) {
    const auto index = static_cast<std::int32_t>(answer.tokens.size());
    const bool banned = index < sampling.min_tokens;
    const TokenId token = SampleAfter(hash, kVocab, banned, stop_tokens);
    answer.tokens.push_back(token);
    hash = MixToken(hash, token);
    if (!banned && !sampling.ignore_eos && token == kEos[0]) {
      answer.reason = FinishReason::kStop;
    } else if (!banned && std::ranges::count(sampling.stop_token_ids, token) > 0) {
      answer.reason = FinishReason::kStop;
      answer.stop_token = token;
    } else if (index + 1 == sampling.max_tokens) {
      answer.reason = FinishReason::kLength;
    }
  }
  return answer;
}

struct Live {
  Request request;
  Answer answer;             // alone
  std::vector<TokenId> got;  // with what was delivered before
  std::int32_t num_scored = 0;
};

// Owns one scheduler with a random configuration, its device, and what every request must get.
class Round {
 public:
  explicit Round(std::uint64_t seed) : random_(seed) {
    cache_config_.num_blocks = Draw(3, 24);
    cache_config_.block_size = 1 << Draw(0, 3);
    cache_config_.enable_prefix_caching = Draw(0, 9) > 0;
    cache_config_.hash_seed = seed;
    cache_config_.hash_bits = Draw(0, 3) == 0 ? Draw(0, 3) : 64;
    config_.max_num_seqs = Draw(0, 2) == 0 ? Draw(1, 3) : Draw(4, 8);
    config_.max_num_batched_tokens = Draw(0, 3) == 0 ? Draw(1, 6) : Draw(6, 48);
    config_.max_steps_in_flight = Draw(1, 3);
    config_.max_model_len = Draw(8, 80);
    config_.eos_token_ids = kEos;
    config_.look_ahead = Draw(0, 1) > 0;
    longest_ = std::min<std::int64_t>(config_.max_model_len,
                                      cache_config_.num_blocks * cache_config_.block_size);
    cache_ = std::make_unique<KvCacheManager>(cache_config_);
    scheduler_ = std::make_unique<Scheduler>(config_, *cache_, clock_);
    device_ = std::make_unique<TestDevice>(cache_config_.num_blocks, cache_config_.block_size,
                                           config_.max_num_seqs, kVocab, kEos);
  }

  void Operate() {
    const int choice = Draw(0, 99);
    if (choice < 26 && live_.size() < 16) {
      Add();
    } else if (choice < 28 && !live_.empty()) {
      Cancel();
    } else if (choice < 64) {
      Schedule();
    } else {
      Finish();
    }
    if (Draw(0, 1999) == 0) faults_ = 1;
    scheduler_->CheckInvariants();
  }

  void Drain() {
    for (int i = 0; i < 20000 && scheduler_->HasWork(); ++i) {
      Schedule();
      if (Draw(0, 1) == 0) Finish();
      scheduler_->CheckInvariants();
    }
    EXPECT_FALSE(scheduler_->HasWork()) << "sequences that never end";
    EXPECT_TRUE(live_.empty());
    EXPECT_EQ(cache_->num_used_blocks(), 0);
  }

  std::uint64_t num_preemptions() const { return scheduler_->Stats().num_preemptions; }
  std::uint64_t num_hits() const { return cache_->num_hits(); }

 private:
  int Draw(int low, int high) {
    return low + static_cast<int>(random_() % static_cast<std::uint64_t>(high - low + 1));
  }

  std::vector<TokenId> DrawPrompt(std::int64_t longest) {
    std::vector<TokenId> prompt;
    if (!histories_.empty() && Draw(0, 3) > 0) {
      prompt =
          histories_[static_cast<std::size_t>(Draw(0, static_cast<int>(histories_.size()) - 1))];
      if (Draw(0, 1) == 0)
        prompt.resize(static_cast<std::size_t>(Draw(0, static_cast<int>(prompt.size()))));
    }
    for (int more = Draw(0, 3) == 0 ? Draw(0, 40) : Draw(0, 3); more > 0; --more)
      prompt.push_back(Draw(0, 2));
    if (prompt.empty()) prompt.push_back(1);
    if (std::ssize(prompt) > longest) prompt.resize(static_cast<std::size_t>(longest));
    return prompt;
  }

  void Add() {
    Live live;
    Request& request = live.request;
    request.id = RequestId{next_id_++};
    request.prompt =
        DrawPrompt(std::max<std::int64_t>(1, Draw(0, 7) == 0 ? longest_ - 1 : longest_ / 3));
    const auto room = static_cast<int>(longest_ - std::ssize(request.prompt));
    SamplingParams& sampling = request.sampling;
    sampling.max_tokens = Draw(0, 1) == 0 ? Draw(1, room) : Draw(1, Draw(1, room));
    if (Draw(0, 3) == 0) sampling.min_tokens = Draw(0, sampling.max_tokens);
    sampling.ignore_eos = Draw(0, 3) == 0;
    if (Draw(0, 3) == 0) sampling.stop_token_ids = {Draw(0, kVocab - 1)};
    if (Draw(0, 5) == 0) sampling.num_prompt_logprobs = Draw(0, 2);
    if (Draw(0, 5) == 0) sampling.bad_words = {{1, 2}};
    if (Draw(0, 3) == 0) request.cache_salt = Draw(0, 1) == 0 ? "a" : "b";
    live.answer = RunAlone(request);
    if (Draw(0, 5) == 0) {
      const int all = static_cast<int>(live.answer.tokens.size());
      request.delivered.assign(live.answer.tokens.begin(),
                               live.answer.tokens.begin() + Draw(0, all));
    }
    live.got = request.delivered;
    device_->SetSalt(request.id, request.cache_salt);
    ASSERT_TRUE(scheduler_->Fits(request));
    Request sent = request;
    scheduler_->Add(std::move(sent));
    if (histories_.size() > 6) histories_.erase(histories_.begin());
    histories_.push_back(request.prompt);
    live_.emplace(request.id, std::move(live));
  }

  void Cancel() {
    const auto found = std::next(live_.begin(), Draw(0, static_cast<int>(live_.size()) - 1));
    EXPECT_TRUE(scheduler_->Cancel(found->first));
    EXPECT_FALSE(scheduler_->Cancel(found->first));
    live_.erase(found);
  }

  void Schedule() {
    StepPlan plan = scheduler_->Schedule();
    if (plan.empty()) {
      const bool full = std::ssize(in_flight_) == config_.max_steps_in_flight;
      EXPECT_TRUE(full || !in_flight_.empty() || !scheduler_->HasWork()) << "stuck";
      return;
    }
    ASSERT_LE(plan.num_tokens(), config_.max_num_batched_tokens);
    std::set<RequestId> named;
    for (const StepItem& item : plan.items) {
      EXPECT_TRUE(named.insert(item.request).second);
      const auto found = live_.find(item.request);
      ASSERT_NE(found, live_.end()) << "an ended sequence was planned";
      EXPECT_FALSE(item.input_on_device && !found->second.request.sampling.bad_words.empty());
      const Request& request = found->second.request;
      const bool replayed = !request.delivered.empty();
      EXPECT_TRUE(replayed || item.output_index < request.sampling.max_tokens);
      CheckNotNamedByOthers(plan, item);
    }
    in_flight_.push_back(std::move(plan));
  }

  // A block must not be written while a step in flight names it for another sequence.
  void CheckNotNamedByOthers(const StepPlan& plan, const StepItem& item) {
    const auto block_size = cache_config_.block_size;
    for (std::int32_t i = item.first / block_size; i < item.num_blocks; ++i) {
      const BlockId written = plan.blocks[static_cast<std::size_t>(item.blocks_begin + i)];
      for (const StepPlan& other : in_flight_) {
        for (const StepItem& reader : other.items) {
          if (reader.request == item.request) continue;
          const auto first = other.blocks.begin() + reader.blocks_begin;
          ASSERT_EQ(std::count(first, first + reader.num_blocks, written), 0);
        }
      }
    }
  }

  void Finish() {
    if (in_flight_.empty()) return;
    const StepPlan plan = std::move(in_flight_.front());
    in_flight_.pop_front();
    StepOutput output = device_->Run(plan);
    RequestId failed{UINT64_MAX};
    if (faults_ > 0) {
      output.items[0].fault = true;
      output.items[0].token = -1;
      failed = plan.items[0].request;
      --faults_;
    }
    for (const RequestOutput& news : scheduler_->Finish(plan, output)) Take(news, failed);
  }

  void Take(const RequestOutput& news, RequestId failed) {
    const auto found = live_.find(news.id);
    ASSERT_NE(found, live_.end()) << "output of a sequence that is over";
    Live& live = found->second;
    if (!news.prompt_logprobs.empty()) {
      EXPECT_EQ(news.prompt_logprobs_begin, live.num_scored + 1);
      EXPECT_TRUE(live.got.empty());
      for (const PositionLogprobs& position : news.prompt_logprobs)
        EXPECT_EQ(position.entries[0].logprob, static_cast<float>(++live.num_scored));
    }
    EXPECT_EQ(news.output_index, std::ssize(live.got));
    live.got.insert(live.got.end(), news.tokens.begin(), news.tokens.end());
    if (live.request.delivered.empty()) {
      EXPECT_EQ(news.num_cached_tokens % cache_config_.block_size, 0);
      EXPECT_LT(news.num_cached_tokens, std::ssize(live.request.prompt));
    } else {
      EXPECT_LE(news.num_cached_tokens, std::ssize(live.request.prompt));
    }
    if (news.finish_reason == FinishReason::kNone) return;
    if (news.finish_reason == FinishReason::kError) {
      EXPECT_EQ(news.id, failed);
      EXPECT_FALSE(news.error.empty());
    } else {
      EXPECT_EQ(live.got, live.answer.tokens);
      EXPECT_EQ(news.finish_reason, live.answer.reason);
      EXPECT_EQ(news.stop_token, live.answer.stop_token);
      const SamplingParams& sampling = live.request.sampling;
      const bool scored = sampling.num_prompt_logprobs >= 0 && live.request.delivered.empty();
      EXPECT_EQ(live.num_scored, scored ? std::ssize(live.request.prompt) - 1 : 0);
      std::vector<TokenId> history = live.request.prompt;
      history.insert(history.end(), live.got.begin(), live.got.end());
      histories_.push_back(std::move(history));
    }
    live_.erase(found);
  }

  std::mt19937_64 random_;
  KvCacheConfig cache_config_;
  SchedulerConfig config_;
  Clock clock_;
  std::int64_t longest_ = 0;
  std::unique_ptr<KvCacheManager> cache_;
  std::unique_ptr<Scheduler> scheduler_;
  std::unique_ptr<TestDevice> device_;
  std::deque<StepPlan> in_flight_;
  std::map<RequestId, Live> live_;
  std::vector<std::vector<TokenId>> histories_;
  std::uint64_t next_id_ = 0;
  int faults_ = 0;
};

TEST(SchedulerFuzz, EveryRequestGetsWhatItGetsAlone) {
  const char* wanted = std::getenv("QUIRE_FUZZ_OPERATIONS");
  const std::int64_t operations = wanted != nullptr ? std::atoll(wanted) : 1'000'000;
  constexpr std::int64_t kPerRound = 2000;
  std::uint64_t preemptions = 0;
  std::uint64_t hits = 0;
  for (std::int64_t done = 0; done < operations; done += kPerRound) {
    const auto seed = static_cast<std::uint64_t>(done);
    SCOPED_TRACE("seed " + std::to_string(seed));
    Round round(seed);
    for (int i = 0; i < kPerRound; ++i) round.Operate();
    round.Drain();
    preemptions += round.num_preemptions();
    hits += round.num_hits();
    if (::testing::Test::HasFailure()) return;
  }
  EXPECT_GT(preemptions, 0U);
  EXPECT_GT(hits, 0U);
}

}  // namespace
}  // namespace quire
