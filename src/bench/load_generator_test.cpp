#include "bench/load_generator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include "base/clock.h"
#include "base/json.h"
#include "net/http_test_kit.h"

namespace quire {
namespace {

using Call = ScriptedServer::Call;

void Sleep(int ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }

constexpr const char* kStreamHead =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

std::string Chunk(const std::string& data) {
  char size[16];
  std::snprintf(size, sizeof size, "%zx\r\n", data.size());
  return size + data + "\r\n";
}

std::string Event(const std::string& text) {
  return Chunk("data: {\"choices\":[{\"text\":\"" + text + "\"}]}\n\n");
}

std::string End() { return Chunk("data: [DONE]\n\n") + "0\r\n\r\n"; }

BenchWorkload Prompts(int count) {
  BenchWorkload workload;
  for (int i = 0; i < count; ++i) {
    BenchTurn turn;
    turn.text = "p" + std::to_string(i) + " ";
    turn.output_tokens = 2;
    workload.conversations.push_back({{turn}, {}, 0});
  }
  return workload;
}

LoadRun RunOn(const ScriptedServer& server) {
  LoadRun run;
  run.target.base = server.url();
  return run;
}

LoadOutcome Outcome(const LoadRun& run, const BenchWorkload& workload) {
  auto outcome = RunLoad(run, workload);
  EXPECT_TRUE(outcome) << outcome.error().message;
  return outcome ? std::move(*outcome) : LoadOutcome();
}

std::string PromptOf(const Call& call) {
  return ParseJson(call.body).value()["prompt"].get<std::string>();
}

TEST(LoadGenerator, RecordsARunOfStreams) {
  ScriptedServer server([](const Call& call) {
    call.Write(kStreamHead);
    Sleep(30);
    call.Write(Event("a"));
    Sleep(20);
    call.Write(Event("b") + End());
    return true;
  });
  RunProgress progress;
  LoadRun run = RunOn(server);
  run.profile.request_rate = 100;
  run.num_threads = 2;
  run.progress = &progress;
  run.target.keep_text = true;
  const LoadOutcome outcome = Outcome(run, Prompts(20));
  ASSERT_EQ(outcome.records.size(), 20U);
  int index = 0;
  for (const RequestRecord& record : outcome.records) {
    EXPECT_TRUE(record.ok()) << record.error;
    EXPECT_EQ(record.conversation, index++);  // by planned time
    EXPECT_EQ(record.status, 200);
    EXPECT_EQ(record.text, "ab");
    EXPECT_EQ(record.start_s, record.planned_s);
    EXPECT_GE(record.sent_s, record.start_s);
    EXPECT_GE(record.ttft_s, 0.03);
    EXPECT_GE(record.latency_s, 0.05);
    ASSERT_EQ(record.itl.size(), 1U);
    EXPECT_NEAR(record.itl[0], record.latency_s - record.ttft_s, 1e-5);
    EXPECT_EQ(record.output_tokens, 2);
  }
  EXPECT_EQ(progress.sent, 20);
  EXPECT_EQ(progress.finished, 20);
  EXPECT_EQ(progress.failed, 0);
  EXPECT_EQ(progress.output_tokens, 40);
  EXPECT_GE(outcome.duration_s, 0.19 + 0.05);
  EXPECT_LT(server.num_connections(), 20);  // they are kept
}

TEST(LoadGenerator, HoldsItsConcurrency) {
  std::mutex mutex;
  int running = 0;
  int most = 0;
  std::vector<std::string> order;
  ScriptedServer server([&](const Call& call) {
    {
      const std::lock_guard lock(mutex);
      order.push_back(PromptOf(call));
      most = std::max(most, ++running);
    }
    Sleep(20);
    {
      const std::lock_guard lock(mutex);
      --running;
    }
    call.Write(kStreamHead + Event("a") + End());
    return true;
  });
  LoadRun run = RunOn(server);
  run.num_threads = 2;
  run.profile.max_concurrency = 3;
  const LoadOutcome outcome = Outcome(run, Prompts(12));
  EXPECT_LE(most, 3);
  EXPECT_GE(most, 2);  // a busy machine may start the third late
  std::vector<double> starts;
  for (const RequestRecord& record : outcome.records) {
    EXPECT_TRUE(record.ok()) << record.error;
    EXPECT_EQ(record.planned_s, 0);
    EXPECT_GE(record.ttft_s, 0.019);
    starts.push_back(record.start_s);  // when its slot came free: waiting is no latency
  }
  std::sort(starts.begin(), starts.end());
  EXPECT_EQ(starts[2], 0);
  EXPECT_GT(starts[3], 0.02);
  EXPECT_GT(starts[9], 0.06);
}

TEST(LoadGenerator, UsersOfAClosedLoopWaitForTheirAnswers) {
  std::atomic<int> running{0};
  std::atomic<int> most{0};
  ScriptedServer server([&](const Call& call) {
    most = std::max<int>(most, ++running);
    Sleep(10);
    --running;
    call.Write(kStreamHead + Event("a") + End());
    return true;
  });
  LoadRun run = RunOn(server);
  run.num_threads = 2;
  run.profile.closed_loop_users = 4;
  const LoadOutcome outcome = Outcome(run, Prompts(21));
  ASSERT_EQ(outcome.records.size(), 21U);
  EXPECT_LE(most, 4);
  EXPECT_LE(server.num_connections(), 4);
  std::map<int, int> seen;
  for (const RequestRecord& record : outcome.records) {
    EXPECT_TRUE(record.ok()) << record.error;
    ++seen[record.conversation];
  }
  EXPECT_EQ(seen.size(), 21U);
  EXPECT_EQ(std::count_if(outcome.records.begin(), outcome.records.end(),
                          [](const RequestRecord& r) { return r.planned_s == 0; }),
            4);
}

TEST(LoadGenerator, SendsTheTurnsOfAConversation) {
  ScriptedServer server([](const Call& call) {
    const std::string prompt = PromptOf(call);
    call.Write(kStreamHead + Event("<" + std::to_string(prompt.size())) + Event(">") + End());
    return true;
  });
  BenchWorkload workload = Prompts(2);
  workload.conversations[1].arrival_s = 0.03;
  workload.conversations[1].think_s = 0.05;
  for (const char* text : {"second", "third"}) {
    BenchTurn turn;
    turn.text = text;
    turn.input_tokens = 10;
    workload.conversations[1].turns.push_back(turn);
  }
  const LoadOutcome outcome = Outcome(RunOn(server), workload);
  ASSERT_EQ(outcome.records.size(), 4U);
  const auto& records = outcome.records;
  EXPECT_EQ(records[1].text, "<3>");   // p1_
  EXPECT_EQ(records[2].text, "<12>");  // p1_<3>second
  EXPECT_EQ(records[3].text, "<21>");  // p1_<3>second<12>third
  EXPECT_EQ(records[1].planned_s, 0.03);
  for (std::size_t i = 1; i < 4; ++i) EXPECT_EQ(records[i].turn, static_cast<int>(i) - 1);
  EXPECT_GE(records[2].planned_s, records[1].planned_s + records[1].latency_s + 0.05);
  EXPECT_EQ(records[3].input_tokens, 2 + 20);
}

TEST(LoadGenerator, FailuresAreRecords) {
  ScriptedServer server([](const Call& call) {
    const std::string prompt = PromptOf(call);
    if (prompt == "p0 ")
      call.Write(PlainAnswer("429 Slow Down", "{\"error\":{\"message\":\"x\"}}"));
    if (prompt == "p1 ") call.Write(kStreamHead + Event("a"));
    if (prompt == "p2 ") call.Write(kStreamHead + Chunk("data: {\"error\":\"boom\"}\n\n") + End());
    if (prompt == "p3 ") call.Write(kStreamHead + End());
    if (prompt == "p4 ") return false;
    if (prompt == "p5 ") call.Write("nonsense\r\n\r\n");
    if (prompt == "p6 ") call.Write(std::string(kStreamHead) + "zz\r\n");
    if (prompt == "p7 ") Sleep(400);
    if (prompt == "p8 ") call.Write(kStreamHead + Event("a") + End());
    return prompt != "p1 ";
  });
  LoadRun run = RunOn(server);
  run.target.timeout_s = 0.25;
  RunProgress progress;
  run.progress = &progress;
  const LoadOutcome outcome = Outcome(run, Prompts(9));
  ASSERT_EQ(outcome.records.size(), 9U);
  const std::vector<std::string> expected = {
      "HTTP 429 Slow Down: x",
      "the connection was closed in the middle of the answer",
      "error event: boom",
      "the stream ended without an event that has choices",
      "the connection was closed without an answer",
      "the answer is not HTTP/1.1",
      "the size of a chunk is not a hexadecimal number",
      "timeout",
      ""};
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(outcome.records[i].error, expected[i]) << i;
  }
  EXPECT_EQ(progress.failed, 8);
  EXPECT_EQ(progress.finished, 9);
  EXPECT_EQ(outcome.records[1].itl.size(), 0U);
  EXPECT_GT(outcome.records[1].ttft_s, 0);
}

TEST(LoadGenerator, AServerThatIsNotThere) {
  int port = 0;
  {
    const ScriptedServer gone([](const Call&) { return false; });
    port = gone.port();
  }
  LoadRun run;
  run.target.base = {"127.0.0.1", port, ""};
  const LoadOutcome outcome = Outcome(run, Prompts(3));
  ASSERT_EQ(outcome.records.size(), 3U);
  for (const RequestRecord& record : outcome.records) {
    EXPECT_EQ(record.error, "connection refused");
    EXPECT_EQ(record.status, 0);
  }
}

TEST(LoadGenerator, AKeptConnectionThatWasClosedCostsNoRequest) {
  ScriptedServer server([](const Call& call) {
    if (call.request == 1) return false;  // closed with the second request unread
    call.Write(kStreamHead + Event("a") + End());
    return true;
  });
  LoadRun run = RunOn(server);
  run.profile.closed_loop_users = 1;
  const LoadOutcome outcome = Outcome(run, Prompts(10));
  ASSERT_EQ(outcome.records.size(), 10U);
  for (const RequestRecord& record : outcome.records) EXPECT_TRUE(record.ok()) << record.error;
  EXPECT_EQ(server.num_connections(), 10);
}

TEST(LoadGenerator, StopsWhenTold) {
  ScriptedServer server([](const Call& call) {
    call.Write(kStreamHead + Event("a"));
    Sleep(call.body.find("p0 ") != std::string::npos ? 0 : 600);
    call.Write(Event("b") + End());
    return true;
  });
  std::atomic<bool> stop{false};
  LoadRun run = RunOn(server);
  run.profile.request_rate = 20;
  run.profile.burstiness = std::numeric_limits<double>::infinity();
  run.stop = &stop;
  TimePoint stopped;
  std::thread stopper([&] {
    Sleep(120);
    stopped = Now();
    stop = true;
  });
  const LoadOutcome outcome = Outcome(run, Prompts(100));
  const double after_s = Seconds(Now() - stopped);
  stopper.join();
  EXPECT_LT(after_s, 0.4);  // 20 ms on a machine with a core to spare
  EXPECT_TRUE(outcome.interrupted);
  ASSERT_GE(outcome.records.size(), 2U);
  EXPECT_LT(outcome.records.size(), 90U);  // those that were sent
  EXPECT_TRUE(outcome.records[0].ok());
  EXPECT_EQ(outcome.records[1].error, "interrupted");
}

TEST(LoadGenerator, SaysWhatCannotBegin) {
  LoadRun run;
  run.target.base = {"no-such-host.invalid", 1, ""};
  EXPECT_FALSE(RunLoad(run, Prompts(1)));
  run.target.base = {"127.0.0.1", 1, ""};
  run.target.extra_body = "[]";
  EXPECT_FALSE(RunLoad(run, Prompts(1)));
  run.target.extra_body = "";
  run.target.chat = true;
  BenchWorkload workload = Prompts(1);
  workload.conversations[0].turns[0].token_ids = {1};
  EXPECT_FALSE(RunLoad(run, workload));
  EXPECT_TRUE(Outcome(run, BenchWorkload()).records.empty());
}

}  // namespace
}  // namespace quire
