#include "bench/load_request.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "base/json.h"
#include "bench/load_slots.h"

namespace quire {
namespace {

LoadTarget Target() {
  LoadTarget target;
  target.base = {"h", 8000, "/p"};
  target.model = "m";
  return target;
}

BenchTurn Turn(const std::string& text, std::vector<TokenId> ids, int output_tokens) {
  BenchTurn turn;
  turn.text = text;
  turn.token_ids = std::move(ids);
  turn.output_tokens = output_tokens;
  return turn;
}

std::string Body(const LoadTarget& target, const BenchConversation& conversation, int turn = 0,
                 const std::vector<std::string>& answers = {}) {
  const auto writer = LoadRequestWriter::Make(target);
  if (!writer) return "error: " + writer.error().message;
  const std::string request = writer->Write(conversation, turn, answers);
  const std::string body = request.substr(request.find("\r\n\r\n") + 4);
  EXPECT_TRUE(ParseJson(body)) << body;
  EXPECT_NE(request.find("Content-Length: " + std::to_string(body.size()) + "\r\n"),
            std::string::npos);
  return body;
}

TEST(LoadRequestWriter, WritesCompletions) {
  BenchConversation conversation;
  conversation.turns = {Turn("say \"hi\"\n", {}, 5)};
  EXPECT_EQ(Body(Target(), conversation),
            R"({"prompt":"say \"hi\"\n","max_tokens":5,"model":"m","stream":true,)"
            R"("stream_options":{"include_usage":true}})");
  conversation.turns = {Turn("", {3, 1, 2}, 7)};
  LoadTarget target = Target();
  target.ignore_eos = true;
  target.temperature = 0;
  EXPECT_EQ(Body(target, conversation),
            R"({"prompt":[3,1,2],"max_tokens":7,"model":"m","stream":true,)"
            R"("stream_options":{"include_usage":true},"temperature":0.0,"ignore_eos":true})");
  const std::string head = LoadRequestWriter::Make(target)->Write(conversation, 0, {});
  EXPECT_EQ(head.find("POST /p/v1/completions HTTP/1.1\r\nHost: h:8000\r\n"), 0U) << head;
}

TEST(LoadRequestWriter, PutsHistoryInFront) {
  BenchConversation conversation;
  conversation.turns = {Turn("a", {}, 1), Turn("b", {}, 2), Turn("c", {}, 3)};
  EXPECT_NE(Body(Target(), conversation, 2, {"x", "y"}).find(R"("prompt":"axbyc","max_tokens":3)"),
            std::string::npos);
  LoadTarget chat = Target();
  chat.chat = true;
  chat.endpoint = "/v1/chat/completions";
  EXPECT_NE(Body(chat, conversation, 1, {"x", "y"})
                .find(R"({"messages":[{"role":"user","content":"a"},)"
                      R"({"role":"assistant","content":"x"},{"role":"user","content":"b"}],)"
                      R"("max_tokens":2,"max_completion_tokens":2,)"),
            std::string::npos);
  conversation.turns = {Turn("", {1, 2}, 1), Turn("", {3}, 1)};
  EXPECT_NE(Body(Target(), conversation, 1, {"x"}).find(R"("prompt":[1,2,3])"), std::string::npos);
}

TEST(LoadRequestWriter, MergesTheExtraBody) {
  BenchConversation conversation;
  conversation.turns = {Turn("a", {}, 5)};
  LoadTarget target = Target();
  target.extra_body = R"({"top_k":3,"max_tokens":9,"stream":true,"nested":{"a":[1]}})";
  EXPECT_EQ(Body(target, conversation),
            R"({"prompt":"a","model":"m","stream_options":{"include_usage":true},)"
            R"("top_k":3,"max_tokens":9,"stream":true,"nested":{"a":[1]}})");
  for (const char* bad : {"[1]", "{", R"({"stream":false})"}) {
    target.extra_body = bad;
    const auto writer = LoadRequestWriter::Make(target);
    ASSERT_FALSE(writer) << bad;
    EXPECT_EQ(writer.error().kind, ErrorKind::kConfig);
    EXPECT_EQ(writer.error().message.find("--extra-body: "), 0U) << writer.error().message;
  }
}

TEST(LoadPreparer, GivesEachRequestOnceWhoeverMakesIt) {
  BenchWorkload workload;
  std::vector<int> order;
  for (int i = 0; i < 2000; ++i) {
    BenchConversation conversation;
    conversation.turns = {Turn("prompt " + std::to_string(i), {}, 1)};
    workload.conversations.push_back(conversation);
    order.push_back(i);
  }
  const auto writer = LoadRequestWriter::Make(Target());
  ASSERT_TRUE(writer);
  LoadPreparer preparer(*writer, workload, order);
  std::vector<std::string> taken(workload.conversations.size());
  std::thread taker([&] {
    for (std::size_t i = taken.size(); i-- > 0;) taken[i] = preparer.Take(static_cast<int>(i));
  });
  EXPECT_FALSE(preparer.Fill());
  taker.join();
  for (std::size_t i = 0; i < taken.size(); ++i) {
    EXPECT_EQ(taken[i], writer->Write(workload.conversations[i], 0, {}));
  }
}

TEST(LoadSlots, GoToWhoWasPlannedFirst) {
  LoadSlots slots(2);
  std::vector<std::string> granted;
  const auto acquire = [&](const std::string& name, double planned_s) {
    return slots.Acquire(planned_s, [&granted, name](double freed_s) {
      granted.push_back(name + std::to_string(static_cast<int>(freed_s)));
    });
  };
  EXPECT_TRUE(acquire("a", 0));
  EXPECT_TRUE(acquire("b", 0));
  EXPECT_FALSE(acquire("late", 3));
  EXPECT_FALSE(acquire("early", 1));
  EXPECT_FALSE(acquire("early too", 1));
  for (const double now : {5, 6, 7, 8}) slots.Release(now);
  EXPECT_EQ(granted, (std::vector<std::string>{"early5", "early too6", "late7"}));
  EXPECT_TRUE(acquire("c", 9));
  EXPECT_FALSE(acquire("d", 9));
}

}  // namespace
}  // namespace quire
