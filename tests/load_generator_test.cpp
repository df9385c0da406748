// The load generator against the stub server, whose truth it must measure: counts exactly, times
// within what a busy machine does to them. How exact they are on an idle one is measured by
// benchmarks/load_generator_accuracy.py.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "base/json.h"
#include "bench/load_generator.h"
#include "net/http_client.h"

namespace quire {
namespace {

// Owns the process of a stub server.
class StubProcess {
 public:
  explicit StubProcess(std::vector<std::string> flags) {
    truth_ = ::testing::TempDir() + "stub_truth_" + std::to_string(::getpid()) + ".json";
    flags.insert(flags.begin(), QUIRE_STUB_SERVER);
    flags.insert(flags.end(), {"--truth", truth_});
    std::vector<char*> arguments;
    for (std::string& flag : flags) arguments.push_back(flag.data());
    arguments.push_back(nullptr);
    int out[2] = {-1, -1};
    if (::pipe(out) != 0) return;
    pid_ = ::fork();
    if (pid_ == 0) {
      ::dup2(out[1], STDOUT_FILENO);
      ::close(out[0]);
      ::close(out[1]);
      ::execv(arguments[0], arguments.data());
      ::_exit(127);
    }
    ::close(out[1]);
    std::FILE* lines = ::fdopen(out[0], "r");
    if (std::fscanf(lines, "port %d", &port_) != 1) port_ = 0;
    std::fclose(lines);
  }
  ~StubProcess() {
    if (pid_ > 0) End();
    std::remove(truth_.c_str());
  }

  Url url() const { return {"127.0.0.1", port_, ""}; }
  Json Truth() {
    End();
    std::stringstream text;
    text << std::ifstream(truth_).rdbuf();
    auto json = ParseJson(text.str());
    EXPECT_TRUE(json) << text.str();
    return json ? std::move(*json) : Json::object();
  }

 private:
  void End() {
    ::kill(pid_, SIGTERM);
    int status = 0;
    ::waitpid(pid_, &status, 0);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    pid_ = -1;
  }

  pid_t pid_ = -1;
  int port_ = 0;
  std::string truth_;
};

BenchWorkload TaggedPrompts(int count, int output_tokens) {
  BenchWorkload workload;
  for (int i = 0; i < count; ++i) {
    BenchTurn turn;
    turn.text = "tag" + std::to_string(i);
    for (int word = 0; word < i % 7; ++word) turn.text += " w" + std::to_string(word);
    turn.output_tokens = output_tokens + i % 3;
    workload.conversations.push_back({{turn}, {}, 0});
  }
  return workload;
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// Every request against the truth of its tag.
void Compare(const LoadOutcome& outcome, const Json& truth, int count, int events_more) {
  ASSERT_EQ(outcome.records.size(), static_cast<std::size_t>(count));
  ASSERT_EQ(truth["completed"], count);
  EXPECT_EQ(truth["aborted"], 0);
  std::map<std::string, Json> known;
  for (const Json& request : truth["requests"]) known[request["tag"]] = request;
  std::vector<double> ttft_errors, tpot_errors, latency_errors;
  std::int64_t tokens_in = 0, tokens_out = 0;
  for (const RequestRecord& record : outcome.records) {
    const Json& request = known.at("tag" + std::to_string(record.conversation));
    EXPECT_TRUE(record.ok()) << record.error;
    EXPECT_EQ(record.output_tokens, request["completion_tokens"]);
    EXPECT_EQ(record.input_tokens, request["prompt_tokens"]);
    EXPECT_EQ(static_cast<int>(record.itl.size()) + 1, request["events"].get<int>() + events_more);
    EXPECT_EQ(record.finish_reason, "length");
    tokens_in += record.input_tokens;
    tokens_out += record.output_tokens;
    ttft_errors.push_back(record.ttft_s * 1000 - request["ttft_ms"].get<double>());
    tpot_errors.push_back(record.tpot_s() * 1000 - request["tpot_ms"].get<double>());
    latency_errors.push_back(record.latency_s * 1000 - request["e2el_ms"].get<double>());
    // Nothing comes before it was sent.
    EXPECT_GT(ttft_errors.back(), -0.01);
    EXPECT_GT(latency_errors.back(), -0.01);
    double sum_s = record.ttft_s;
    for (const float gap : record.itl) sum_s += gap;
    EXPECT_NEAR(sum_s, record.latency_s, 1e-4);
  }
  EXPECT_EQ(tokens_in, truth["total_input_tokens"]);
  EXPECT_EQ(tokens_out, truth["total_output_tokens"]);
  EXPECT_LT(Median(ttft_errors), 20);
  EXPECT_LT(Median(latency_errors), 20);
  EXPECT_LT(std::abs(Median(tpot_errors)), 1);
}

TEST(LoadGeneratorOnStub, MeasuresItsTruth) {
  StubProcess stub({"--ttft-ms", "30", "--tpot-ms", "5"});
  LoadRun run;
  run.target.base = stub.url();
  run.target.model = "stub";
  run.profile.request_rate = 150;
  const auto outcome = RunLoad(run, TaggedPrompts(60, 20));
  ASSERT_TRUE(outcome) << outcome.error().message;
  Compare(*outcome, stub.Truth(), 60, 0);
}

TEST(LoadGeneratorOnStub, MeasuresChatsWithSeveralTokensAnEvent) {
  StubProcess stub({"--ttft-ms", "20", "--ttft-sigma", "0.5", "--tpot-ms", "4", "--tpot-sigma",
                    "0.3", "--tokens-per-event", "3"});
  LoadRun run;
  run.target.base = stub.url();
  run.target.chat = true;
  run.target.endpoint = "/v1/chat/completions";
  run.profile.max_concurrency = 8;
  run.num_threads = 2;
  const auto outcome = RunLoad(run, TaggedPrompts(40, 16));
  ASSERT_TRUE(outcome) << outcome.error().message;
  Compare(*outcome, stub.Truth(), 40, 1);  // the role is an event too
}

Json Posted(HttpClient& client, const std::string& path, const std::string& body) {
  const auto reply = client.PostJson(path, body);
  EXPECT_TRUE(reply) << reply.error().message;
  auto json = ParseJson(reply ? reply->body : "{}");
  EXPECT_TRUE(json);
  return json ? std::move(*json) : Json::object();
}

TEST(StubServer, SpeaksTheRestOfTheApi) {
  StubProcess stub({"--ttft-ms", "5", "--tpot-ms", "1"});
  HttpClient client(stub.url(), {}, std::chrono::seconds(20));
  EXPECT_EQ(client.Get("/health")->status, 200);
  EXPECT_EQ(client.Get("/nowhere")->status, 404);
  EXPECT_NE(client.Get("/v1/models")->body.find("\"id\":\"stub\""), std::string::npos);
  EXPECT_NE(client.Get("/metrics")->body.find("vllm:num_requests_running{"), std::string::npos);

  const std::string body = R"({"prompt":"w5 w7  w9 hello w007","max_tokens":3,"tokens":)";
  const Json tokenized = Posted(client, "/tokenize", body + "[]}");
  EXPECT_EQ(tokenized["count"], 5);
  EXPECT_EQ(tokenized["tokens"][1], 7);
  const Json text = Posted(client, "/detokenize", body + WriteJson(tokenized["tokens"]) + "}");
  EXPECT_EQ(text["prompt"], " w5 w7  w9 hello w007");
  EXPECT_EQ(client.PostJson("/detokenize", R"({"tokens":[99999999]})")->status, 400);

  const Json whole = Posted(client, "/v1/completions", body + "[]}");
  EXPECT_EQ(whole["choices"][0]["text"], " w0 w1 w2");
  EXPECT_EQ(whole["usage"]["prompt_tokens"], 5);
  const Json chat = Posted(client, "/v1/chat/completions",
                           R"({"messages":[{"role":"user","content":"a b"}],"max_tokens":1})");
  EXPECT_EQ(chat["choices"][0]["message"]["content"], " w0");
  EXPECT_EQ(chat["usage"]["prompt_tokens"], 2);
  EXPECT_EQ(stub.Truth()["total_output_tokens"], 4);
}

}  // namespace
}  // namespace quire
