#include "bench/load_answer.h"

#include <gtest/gtest.h>

#include <string>

namespace quire {
namespace {

constexpr double kStart = 10;

HttpResponseHead Head(int status, const std::string& reason, const std::string& type) {
  HttpResponseHead head;
  head.status = status;
  head.reason = reason;
  head.headers = {{"content-type", type}};
  return head;
}

LoadAnswer Started(bool keep_text = false) {
  RequestRecord record;
  record.start_s = kStart;
  record.input_tokens = 11;
  return LoadAnswer(record, keep_text);
}

LoadAnswer Streaming(bool keep_text = false) {
  LoadAnswer answer = Started(keep_text);
  answer.OnHead(Head(200, "OK", "Text/Event-Stream; charset=utf-8"));
  return answer;
}

std::string Event(const std::string& text, const std::string& more = "") {
  return "data: {\"choices\":[{\"text\":\"" + text + "\"}]" + more + "}\n\n";
}

TEST(LoadAnswer, TimesEventsWithChoices) {
  for (const bool keep_text : {false, true}) {
    LoadAnswer answer = Streaming(keep_text);
    EXPECT_EQ(answer.OnBody(": hello\n\ndata: {\"choices\":[]}\n\n", 10.1), 0);
    EXPECT_EQ(answer.OnBody(Event(""), 10.25), 1);  // an empty text counts too
    const std::string two = Event("a") + Event("b");
    EXPECT_EQ(answer.OnBody(two.substr(0, 20), 10.375), 0);
    EXPECT_EQ(answer.OnBody(two.substr(20), 10.5), 2);
    EXPECT_EQ(
        answer.OnBody("data: {\"choices\":[{\"text\":\"c\",\"finish_reason\":\"stop\"}]}\n\n", 11),
        1);
    EXPECT_EQ(answer.OnBody("data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,"
                            "\"completion_tokens\":9}}\n\ndata: [DONE]\n\n",
                            12),
              0);
    EXPECT_TRUE(answer.ended());
    const RequestRecord record = std::move(answer).Finish();
    EXPECT_TRUE(record.ok()) << record.error;
    EXPECT_EQ(record.ttft_s, 0.25);
    EXPECT_EQ(record.latency_s, 1);
    EXPECT_EQ(record.itl, (std::vector<float>{0.25F, 0, 0.5F}));
    EXPECT_EQ(record.output_tokens, 9);
    EXPECT_EQ(record.input_tokens, 5);
    EXPECT_EQ(record.finish_reason, "stop");
    EXPECT_EQ(record.text, keep_text ? "abc" : "");
  }
}

TEST(LoadAnswer, WithoutUsageEventsAreCounted) {
  LoadAnswer answer = Streaming();
  answer.OnBody(Event("a") + Event("b"), 11);
  const RequestRecord record = std::move(answer).Finish();
  EXPECT_TRUE(record.ok());
  EXPECT_EQ(record.output_tokens, 2);
  EXPECT_EQ(record.input_tokens, 11);
}

std::string ErrorOf(LoadAnswer answer) { return std::move(answer).Finish().error; }

TEST(LoadAnswer, SaysWhatFailed) {
  LoadAnswer refused = Started();
  refused.OnHead(Head(400, "Bad Request", "application/json"));
  EXPECT_EQ(refused.OnBody("{\"error\":{\"message\":\"the prompt ", 11), 0);
  refused.OnBody("is too long\"}}", 11);
  EXPECT_EQ(ErrorOf(std::move(refused)), "HTTP 400 Bad Request: the prompt is too long");

  LoadAnswer large = Started();
  large.OnHead(Head(500, "", "text/html"));
  for (int i = 0; i < 100; ++i) large.OnBody(std::string(1000, 'x'), 11);
  EXPECT_EQ(ErrorOf(std::move(large)), "HTTP 500: " + std::string(300, 'x') + "...");

  LoadAnswer whole = Started();
  whole.OnHead(Head(200, "OK", "application/json"));
  whole.OnBody("{}", 11);
  EXPECT_EQ(ErrorOf(std::move(whole)), "the answer is not a stream of events");

  LoadAnswer empty = Streaming();
  empty.OnBody("data: [DONE]\n\n", 11);
  EXPECT_EQ(ErrorOf(std::move(empty)), "the stream ended without an event that has choices");

  LoadAnswer broken = Streaming();
  broken.OnBody(Event("a") + "data: {\"error\":{\"message\":\"out of memory\"}}\n\n", 11);
  EXPECT_TRUE(broken.failed());
  broken.Fail("another");
  EXPECT_EQ(ErrorOf(std::move(broken)), "error event: out of memory");

  LoadAnswer garbage = Streaming();
  garbage.OnBody("data: <html>\n\n", 11);
  EXPECT_EQ(ErrorOf(std::move(garbage)), "an event of the stream is not JSON");
}

TEST(LoadAnswer, NothingSpoilsAnEndedStream) {
  LoadAnswer answer = Streaming();
  answer.OnBody(Event("a") + "data: [DONE]\n\n" + Event("b"), 11);
  answer.Fail("timeout");
  const RequestRecord record = std::move(answer).Finish();
  EXPECT_TRUE(record.ok());
  EXPECT_EQ(record.output_tokens, 1);
}

}  // namespace
}  // namespace quire
