#include "engine/engine.h"

#include <gtest/gtest.h>

#include <unistd.h>

#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include "base/json.h"
#include "runtime/null_executor.h"
#include "runtime/profile_summary.h"

namespace quire {
namespace {

// Owns a folder with a config.json, which is all that the null executor reads.
class ConfigFolder {
 public:
  ConfigFolder()
      : path_(std::filesystem::temp_directory_path() /
              ("quire-engine-test-" + std::to_string(::getpid()))) {
    std::filesystem::create_directories(path_);
    std::ofstream(path_ / "config.json")
        << R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama",
      "vocab_size": 500, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
      "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512, "rms_norm_eps": 1e-5,
      "hidden_act": "silu", "tie_word_embeddings": true, "eos_token_id": 2, "torch_dtype": "float32"})";
  }
  ~ConfigFolder() { std::filesystem::remove_all(path_); }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// Collects the reports of an engine and waits for requests to end.
class Listener {
 public:
  void Take(EngineReport report) {
    const std::lock_guard lock(mutex_);
    stats_ = report.stats;
    for (RequestOutput& output : report.outputs) {
      Seen& seen = seen_[output.id.value];
      EXPECT_EQ(seen.finish, FinishReason::kNone) << "news of a request that had ended";
      EXPECT_EQ(output.output_index, static_cast<std::int32_t>(seen.tokens.size()));
      seen.tokens.insert(seen.tokens.end(), output.tokens.begin(), output.tokens.end());
      seen.finish = output.finish_reason;
      seen.error = output.error;
    }
    changed_.notify_all();
  }

  struct Seen {
    std::vector<TokenId> tokens;
    FinishReason finish = FinishReason::kNone;
    std::string error;
  };

  Seen Wait(std::uint64_t id) {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, std::chrono::seconds(20),
                                  [&] { return seen_[id].finish != FinishReason::kNone; }))
        << "request " << id << " did not end";
    return seen_[id];
  }

  // True once nothing runs or waits and no block is held.
  bool WaitIdle() {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(20), [&] {
      return stats_.num_running == 0 && stats_.num_waiting == 0 && stats_.num_used_blocks == 0;
    });
  }

  std::size_t NumTokens(std::uint64_t id) {
    const std::lock_guard lock(mutex_);
    return seen_[id].tokens.size();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::uint64_t, Seen> seen_;
  EngineStats stats_;
};

Request MakeRequest(std::uint64_t id, std::int32_t prompt, std::int32_t max_tokens) {
  Request request;
  request.id = {id};
  for (std::int32_t i = 0; i < prompt; ++i) request.prompt.push_back(3 + i % 400);
  request.sampling.max_tokens = max_tokens;
  request.sampling.seed = id;
  request.sampling.ignore_eos = true;
  return request;
}

class EngineTest : public ::testing::Test {
 protected:
  std::unique_ptr<Engine> Make(std::int64_t num_blocks, std::int32_t max_num_seqs,
                               ProfileOptions profile = {}) {
    RuntimeConfig config;
    config.model_folder = folder_.path();
    config.num_blocks_override = num_blocks;
    config.max_num_seqs = max_num_seqs;
    auto executor = MakeNullExecutor(config);
    EXPECT_TRUE(executor.ok()) << executor.error().message;
    return std::make_unique<Engine>(
        std::move(executor).value(),
        [this](EngineReport report) { listener_.Take(std::move(report)); }, std::move(profile));
  }

  ConfigFolder folder_;
  Listener listener_;
};

TEST_F(EngineTest, ManyRequestsThroughASmallPoolGiveWhatEachGivesAlone) {
  constexpr std::uint64_t kCount = 100;
  std::map<std::uint64_t, std::vector<TokenId>> alone;
  {
    const auto engine = Make(4096, 1);
    for (std::uint64_t id = 1; id <= kCount; ++id)
      engine->Submit(MakeRequest(id, static_cast<std::int32_t>(id % 37) + 1, 40));
    for (std::uint64_t id = 1; id <= kCount; ++id) alone[id] = listener_.Wait(id).tokens;
  }
  const auto engine = Make(24, 16);
  for (std::uint64_t id = 1; id <= kCount; ++id) {
    Request request = MakeRequest(id, static_cast<std::int32_t>(id % 37) + 1, 40);
    request.id = {id + 1000};
    engine->Submit(std::move(request));
  }
  for (std::uint64_t id = 1; id <= kCount; ++id) {
    const Listener::Seen seen = listener_.Wait(id + 1000);
    EXPECT_EQ(seen.finish, FinishReason::kLength);
    EXPECT_EQ(seen.tokens, alone[id]);
  }
  EXPECT_TRUE(listener_.WaitIdle());
}

TEST_F(EngineTest, CancelledRequestsLeaveNothingBehind) {
  const auto engine = Make(64, 4);
  for (std::uint64_t id = 1; id <= 50; ++id) engine->Submit(MakeRequest(id, 20, 480));
  for (std::uint64_t id = 1; id <= 49; ++id) engine->Cancel({id});
  engine->Cancel({12345});  // nobody has it
  EXPECT_EQ(listener_.Wait(50).tokens.size(), 480U);
  EXPECT_TRUE(listener_.WaitIdle());
}

TEST_F(EngineTest, RequestsThatBreakTheLimitsEndWithAnError) {
  const auto engine = Make(8, 4);  // 128 tokens
  std::vector<Request> bad;
  bad.push_back(MakeRequest(1, 0, 4));
  bad.push_back(MakeRequest(2, 4, 0));
  bad.push_back(MakeRequest(3, 500, 100));
  bad.push_back(MakeRequest(4, 100, 100));  // more than the pool
  bad.push_back(MakeRequest(5, 4, 4));
  bad.back().prompt[2] = 500;
  bad.push_back(MakeRequest(6, 4, 4));
  bad.back().sampling.stop_token_ids = {-1};
  bad.push_back(MakeRequest(7, 4, 4));
  bad.back().sampling.logit_bias = {{1 << 30, 1.0F}};
  bad.push_back(MakeRequest(8, 4, 4));
  bad.back().sampling.bad_words = {{}};
  for (Request& request : bad) engine->Submit(request);
  for (const Request& request : bad) {
    const Listener::Seen seen = listener_.Wait(request.id.value);
    EXPECT_EQ(seen.finish, FinishReason::kError);
    EXPECT_FALSE(seen.error.empty());
  }
  engine->Submit(MakeRequest(9, 100, 28));
  EXPECT_EQ(listener_.Wait(9).finish, FinishReason::kLength);
}

TEST_F(EngineTest, EndsWithWorkInFlight) {
  auto engine = Make(4096, 64);
  for (std::uint64_t id = 1; id <= 64; ++id) engine->Submit(MakeRequest(id, 20, 480));
  while (listener_.NumTokens(1) == 0) std::this_thread::yield();
  engine.reset();
}

TEST_F(EngineTest, ProfilesTheStepsThatAreAskedFor) {
  std::vector<ProfileSummary> summaries;
  ProfileOptions profile;
  profile.num_steps = 5;
  profile.first_step = 3;
  profile.file = folder_.path() / "trace.json";
  profile.on_done = [&](const ProfileSummary& summary) { summaries.push_back(summary); };
  auto engine = Make(64, 4, profile);
  for (std::uint64_t id = 1; id <= 2; ++id) {
    engine->Submit(MakeRequest(id, 4, 20));
    listener_.Wait(id);
  }
  engine.reset();
  ASSERT_EQ(summaries.size(), 1U);
  EXPECT_EQ(summaries[0].num_steps, 5);
  EXPECT_EQ(summaries[0].first_step, 3);
  EXPECT_DOUBLE_EQ(summaries[0].tokens, 1);
  EXPECT_GT(summaries[0].host_us[static_cast<std::size_t>(HostPhase::kLaunch)], 0);
  EXPECT_EQ(summaries[0].trace_file, profile.file.string());
  std::ifstream file(profile.file);
  const std::string text(std::istreambuf_iterator<char>(file), {});
  const auto trace = ParseJson(text);
  ASSERT_TRUE(trace.ok()) << trace.error().message;
  std::map<std::string, int> spans;
  for (const Json& event : (*trace)["traceEvents"])
    if (event["ph"] == "X") ++spans[event["name"]];
  EXPECT_EQ(spans["take in"], 5 + 1);  // and the one of the step that ended meanwhile
  EXPECT_GE(spans["launch"], 5);
}

TEST_F(EngineTest, AnEngineThatEndsEarlyWritesWhatItHas) {
  std::vector<ProfileSummary> summaries;
  ProfileOptions profile;
  profile.num_steps = 500;
  profile.first_step = 0;
  profile.file = folder_.path() / "no-such-folder" / "trace.json";
  profile.on_done = [&](const ProfileSummary& summary) { summaries.push_back(summary); };
  auto engine = Make(64, 4, profile);
  engine->Submit(MakeRequest(1, 4, 20));
  listener_.Wait(1);
  engine.reset();
  ASSERT_EQ(summaries.size(), 1U);
  EXPECT_GE(summaries[0].num_steps, 20);
  EXPECT_EQ(summaries[0].trace_file, "");  // and a line in the log
}

}  // namespace
}  // namespace quire
