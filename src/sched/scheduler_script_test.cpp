// Runs tests/scheduler/*.test: scripts that say what each step must contain.
// tests/scheduler/README.md has the language.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cache/kv_cache_manager.h"
#include "sched/scheduler.h"

namespace quire {
namespace {

constexpr TokenId kEos = 1;

// key=value words of a line; words without '=' are flags of value 1.
class Words {
 public:
  explicit Words(const std::string& text) {
    std::istringstream in(text);
    for (std::string word; in >> word;) {
      const auto equal = word.find('=');
      if (equal == std::string::npos) {
        words_[word] = "1";
      } else {
        words_[word.substr(0, equal)] = word.substr(equal + 1);
      }
    }
  }
  std::string Text(const std::string& key, const std::string& otherwise) {
    const auto found = words_.find(key);
    if (found == words_.end()) return otherwise;
    std::string value = found->second;
    words_.erase(found);
    return value;
  }
  int Number(const std::string& key, int otherwise) {
    const std::string text = Text(key, "");
    return text.empty() ? otherwise : std::stoi(text);
  }
  // A word that nobody asked for is a mistake in the script.
  std::string Unused() const { return words_.empty() ? "" : words_.begin()->first; }

 private:
  std::map<std::string, std::string> words_;
};

struct Client {
  Request request;
  int ends = 0;  // the output token of this number is the end of the text; 0: none is
  std::vector<TokenId> got;
  int cached = -1;
  int num_scored = 0;
  FinishReason reason = FinishReason::kNone;
};

std::string_view Name(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kAbort:
      return "abort";
    case FinishReason::kError:
      return "error";
    case FinishReason::kNone:
      break;
  }
  return "none";
}

// Owns the scheduler of one script and plays the device for it.
class Script {
 public:
  void Run(const std::filesystem::path& path) {
    std::ifstream in(path);
    ASSERT_TRUE(in) << path;
    int number = 0;
    for (std::string line; std::getline(in, line);) {
      ++number;
      line.resize(std::min(line.size(), line.find('#')));
      if (line.find_first_not_of(" \t") == std::string::npos) continue;
      SCOPED_TRACE(path.filename().string() + ":" + std::to_string(number) + ": " + line);
      Do(line);
      if (::testing::Test::HasFailure()) return;
      if (scheduler_) scheduler_->CheckInvariants();
    }
  }

 private:
  void Do(const std::string& line) {
    const auto arrow = line.find("->");
    std::istringstream in(line.substr(0, arrow));
    std::string verb;
    std::string rest;
    in >> verb;
    std::getline(in, rest);
    const bool checked = arrow != std::string::npos;
    const std::string wanted = checked ? Squeeze(line.substr(arrow + 2)) : "";
    if (verb == "pool") return Pool(rest);
    if (verb == "add") return Add(rest);
    if (verb == "cancel") return Cancel(Squeeze(rest));
    if (verb == "expect") return Expect(rest);
    if (verb == "run") return RunToTheEnd();
    std::string happened;
    if (verb == "schedule") {
      happened = Schedule();
    } else if (verb == "finish") {
      happened = Finish();
    } else if (verb == "step") {
      const int times = Squeeze(rest).empty() ? 1 : std::stoi(rest);
      for (int i = 0; i < times; ++i) {
        happened = Schedule();
        while (!in_flight_.empty()) Finish();
      }
    } else {
      FAIL() << "unknown verb " << verb;
    }
    if (checked) {
      EXPECT_EQ(happened, wanted);
    }
  }

  static std::string Squeeze(const std::string& text) {
    std::istringstream in(text);
    std::string all;
    for (std::string word; in >> word;) all += (all.empty() ? "" : " ") + word;
    return all;
  }

  void Pool(const std::string& text) {
    Words words(text);
    KvCacheConfig cache;
    cache.num_blocks = words.Number("blocks", 64);
    cache.block_size = words.Number("block_size", 16);
    cache.enable_prefix_caching = words.Number("prefix_caching", 1) != 0;
    SchedulerConfig config;
    config.max_num_seqs = words.Number("seqs", 8);
    config.max_num_batched_tokens = words.Number("budget", 64);
    config.max_model_len = words.Number("len", 4096);
    config.max_steps_in_flight = words.Number("in_flight", 1);
    config.look_ahead = words.Number("look_ahead", 1) != 0;
    config.eos_token_ids = {kEos};
    ASSERT_EQ(words.Unused(), "");
    in_flight_.clear();
    clients_.clear();
    names_.clear();
    scheduler_.reset();
    cache_ = std::make_unique<KvCacheManager>(cache);
    scheduler_ = std::make_unique<Scheduler>(config, *cache_, clock_);
  }

  void Add(const std::string& text) {
    Words words(text.substr(text.find(' ', text.find_first_not_of(' '))));
    const std::string name = Squeeze(text.substr(0, text.find(' ', text.find_first_not_of(' '))));
    const int count = words.Number("count", 0);
    Client client;
    Request& request = client.request;
    const std::string history = words.Text("history", "");
    if (!history.empty()) {
      const Client& before = clients_.at(history);
      request.prompt = before.request.prompt;
      request.prompt.insert(request.prompt.end(), before.got.begin(), before.got.end());
    }
    const std::string like = words.Text("like", "");
    if (!like.empty()) {
      const auto& other = clients_.at(like.substr(0, like.find(':'))).request.prompt;
      const int shared = std::stoi(like.substr(like.find(':') + 1));
      ASSERT_LE(shared, std::ssize(other));
      request.prompt.assign(other.begin(), other.begin() + shared);
    }
    const auto length = std::ssize(request.prompt) + words.Number("prompt", 0);
    request.sampling.max_tokens = words.Number("max", 16);
    request.sampling.min_tokens = words.Number("min", 0);
    request.sampling.num_prompt_logprobs = words.Number("scores", -1);
    if (words.Number("bad_words", 0) != 0) request.sampling.bad_words = {{7, 8}};
    request.cache_salt = words.Text("salt", "");
    for (int i = words.Number("delivered", 0); i > 0; --i)
      request.delivered.push_back(next_token_++);
    client.got = request.delivered;
    client.ends = words.Number("ends", 0);
    ASSERT_EQ(words.Unused(), "");
    for (int i = 0; i < std::max(count, 1); ++i) {
      Client copy = client;
      while (std::ssize(copy.request.prompt) < length) copy.request.prompt.push_back(next_token_++);
      AddOne(count == 0 ? name : name + std::to_string(i), std::move(copy));
    }
  }

  void AddOne(const std::string& name, Client client) {
    client.request.id = RequestId{names_.size()};
    names_.push_back(name);
    ASSERT_TRUE(scheduler_->Fits(client.request));
    scheduler_->Add(client.request);
    clients_[name] = std::move(client);
  }

  void Cancel(const std::string& name) {
    EXPECT_TRUE(scheduler_->Cancel(clients_.at(name).request.id));
    clients_.at(name).reason = FinishReason::kAbort;
  }

  const std::string& NameOf(RequestId id) const {
    return names_[static_cast<std::size_t>(id.value)];
  }

  std::string Schedule() {
    StepPlan plan = scheduler_->Schedule();
    if (plan.empty()) return "-";
    std::string happened;
    for (const StepItem& item : plan.items) {
      happened += (happened.empty() ? "" : " ") + NameOf(item.request) + "[" +
                  std::to_string(item.first) + "," + std::to_string(item.first + item.count) + ")" +
                  (item.input_on_device ? "*" : "");
    }
    in_flight_.push_back(std::move(plan));
    return happened;
  }

  std::string Finish() {
    if (in_flight_.empty()) return "nothing in flight";
    const StepPlan plan = std::move(in_flight_.front());
    in_flight_.pop_front();
    StepOutput output;
    output.step = plan.step;
    for (const StepItem& item : plan.items) {
      ItemOutput& result = output.items.emplace_back();
      const Client& client = clients_.at(NameOf(item.request));
      if (item.sample) {
        const bool end = item.output_index + 1 == client.ends && !item.ban_stop_tokens;
        result.token = end ? kEos : next_token_++;
      }
      result.prompt_logprobs.resize(static_cast<std::size_t>(item.num_scored));
    }
    std::string happened;
    for (const RequestOutput& news : scheduler_->Finish(plan, output))
      happened += (happened.empty() ? "" : " ") + Take(news);
    return happened.empty() ? "-" : happened;
  }

  std::string Take(const RequestOutput& news) {
    Client& client = clients_.at(NameOf(news.id));
    std::string happened = NameOf(news.id);
    if (!news.prompt_logprobs.empty()) {
      EXPECT_EQ(news.prompt_logprobs_begin, client.num_scored + 1);
      client.num_scored += static_cast<int>(news.prompt_logprobs.size());
      happened += ":" + std::to_string(news.prompt_logprobs.size());
    }
    EXPECT_EQ(news.output_index, std::ssize(client.got));
    client.got.insert(client.got.end(), news.tokens.begin(), news.tokens.end());
    if (!news.tokens.empty()) happened += "+" + std::to_string(news.tokens.size());
    if (client.cached < 0) client.cached = news.num_cached_tokens;
    client.reason = news.finish_reason;
    if (client.reason != FinishReason::kNone) happened += "=" + std::string(Name(client.reason));
    return happened;
  }

  void RunToTheEnd() {
    for (int i = 0; i < 100000; ++i) {
      const bool idle = Schedule() == "-";
      if (idle && in_flight_.empty()) break;
      if (idle) Finish();
      scheduler_->CheckInvariants();
    }
    EXPECT_FALSE(scheduler_->HasWork());
  }

  // [NAME] key(=|<=|>=)value …
  void Expect(const std::string& text) {
    std::istringstream in(text);
    const Client* client = nullptr;
    for (std::string word; in >> word;) {
      const auto sign = word.find_first_of("<>=");
      if (sign == std::string::npos) {
        client = &clients_.at(word);
        continue;
      }
      const auto value = word.find_first_not_of("<>=", sign);
      const std::string key = word.substr(0, sign);
      const std::string relation = word.substr(sign, value - sign);
      const std::string wanted = word.substr(value);
      if (key == "finish") {
        ASSERT_NE(client, nullptr);
        EXPECT_EQ(Name(client->reason), wanted);
        continue;
      }
      const std::int64_t number = Value(key, client);
      const std::int64_t limit = std::stoll(wanted);
      const bool holds = relation == "<="   ? number <= limit
                         : relation == ">=" ? number >= limit
                                            : number == limit;
      EXPECT_TRUE(holds) << key << " is " << number;
    }
  }

  std::int64_t Value(const std::string& key, const Client* client) const {
    if (client != nullptr) {
      if (key == "tokens") return std::ssize(client->got);
      if (key == "cached") return client->cached;
      if (key == "scored") return client->num_scored;
    }
    const EngineStats stats = scheduler_->Stats();
    const std::map<std::string, std::int64_t> values = {
        {"running", stats.num_running},
        {"waiting", stats.num_waiting},
        {"used", stats.num_used_blocks},
        {"free", cache_->num_free_blocks()},
        {"cached_blocks", cache_->num_cached_blocks()},
        {"steps", static_cast<std::int64_t>(stats.num_steps)},
        {"preemptions", static_cast<std::int64_t>(stats.num_preemptions)},
        {"queries", static_cast<std::int64_t>(stats.prefix_cache_queries)},
        {"hits", static_cast<std::int64_t>(stats.prefix_cache_hits)},
        {"computed", static_cast<std::int64_t>(stats.prompt_tokens_computed)}};
    const auto found = values.find(key);
    EXPECT_NE(found, values.end()) << "no such number: " << key;
    return found == values.end() ? 0 : found->second;
  }

  Clock clock_;
  std::unique_ptr<KvCacheManager> cache_;
  std::unique_ptr<Scheduler> scheduler_;
  std::deque<StepPlan> in_flight_;
  std::map<std::string, Client> clients_;
  std::vector<std::string> names_;  // by request id
  TokenId next_token_ = 100;        // no two tokens are the same but by like= and history=
};

std::vector<std::filesystem::path> Scripts() {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(QUIRE_SOURCE_DIR "/tests/scheduler"))
    if (entry.path().extension() == ".test") paths.push_back(entry.path());
  std::ranges::sort(paths);
  return paths;
}

class SchedulerScript : public ::testing::TestWithParam<std::filesystem::path> {};

TEST_P(SchedulerScript, Holds) { Script().Run(GetParam()); }

INSTANTIATE_TEST_SUITE_P(All, SchedulerScript, ::testing::ValuesIn(Scripts()),
                         [](const auto& test) { return test.param.stem().string(); });

}  // namespace
}  // namespace quire
