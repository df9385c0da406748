#include "server/answer_job.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "server/test_support.h"

namespace quire {
namespace {

using test::CompletionBody;
using test::TestModel;
using test::TestOptions;
using test::TestServer;

constexpr const char* kCompletions = "/v1/completions";

std::string Error(const Json& answer, const char* name) {
  const Json value = answer.value("error", Json::object()).value(name, Json());
  return value.is_string() ? value.get<std::string>() : "";
}

TEST(AnswerJob, APlainAnswerCountsWhatItHolds) {
  TestServer server;
  server.EchoPrompts();
  const Json body = server.Ask(kCompletions, CompletionBody({{"return_token_ids", true}}));
  ASSERT_TRUE(body.contains("choices")) << WriteJson(body);
  EXPECT_EQ(body["object"], "text_completion");
  EXPECT_EQ(body["id"], "cmpl-req-1");
  EXPECT_EQ(body["model"], "m");
  const Json& choice = body["choices"][0];
  EXPECT_EQ(WriteJson(choice["token_ids"]), "[5,6,7,5,6,7,5,6]");
  EXPECT_EQ(WriteJson(choice["prompt_token_ids"]), "[5,6,7]");
  EXPECT_EQ(choice["finish_reason"], "length");
  EXPECT_TRUE(choice["stop_reason"].is_null());
  EXPECT_TRUE(choice["logprobs"].is_null());
  EXPECT_EQ(body["usage"]["prompt_tokens"], 3);
  EXPECT_EQ(body["usage"]["completion_tokens"], 8);
  EXPECT_EQ(body["usage"]["total_tokens"], 11);
  EXPECT_TRUE(body["usage"]["prompt_tokens_details"].is_null());
  EXPECT_EQ(server.Sample("vllm:request_success_total{engine=\"0\",finished_reason=\"length\""), 1);
  EXPECT_EQ(server.Sample("vllm:generation_tokens_total"), 8);
  EXPECT_EQ(server.Sample("vllm:prompt_tokens_total"), 3);
  EXPECT_EQ(server.Sample("vllm:inter_token_latency_seconds_count"), 7);
  EXPECT_EQ(server.Sample("vllm:time_to_first_token_seconds_count"), 1);
  EXPECT_EQ(server.Sample("vllm:num_requests_waiting"), 0);
}

TEST(AnswerJob, ChoicesAndPromptsComeInOrderWithTheirSeeds) {
  TestServer server;
  server.EchoPrompts();
  const Json body = server.Ask(kCompletions, CompletionBody({{"prompt", {{1, 2}, {3}}},
                                                             {"n", 2},
                                                             {"seed", 7},
                                                             {"return_token_ids", true},
                                                             {"max_tokens", 3}}));
  ASSERT_EQ(body["choices"].size(), 4U) << WriteJson(body);
  const char* expected[] = {"[1,2,1]", "[1,2,1]", "[3,3,3]", "[3,3,3]"};
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(body["choices"][i]["index"], i);
    EXPECT_EQ(WriteJson(body["choices"][i]["token_ids"]), expected[i]);
  }
  EXPECT_EQ(body["usage"]["prompt_tokens"], 3);
  EXPECT_EQ(body["usage"]["completion_tokens"], 12);
  const auto requests = server.gateway.WaitForRequests(4);
  EXPECT_EQ(requests[0].sampling.seed, 7U);
  EXPECT_NE(requests[1].sampling.seed, 7U);
  EXPECT_EQ(requests[2].sampling.seed, 7U);
  EXPECT_EQ(requests[3].sampling.seed, requests[1].sampling.seed);
}

TEST(AnswerJob, UnseededRequestsDiffer) {
  TestServer server;
  server.EchoPrompts();
  server.Ask(kCompletions, CompletionBody());
  server.Ask(kCompletions, CompletionBody());
  const auto requests = server.gateway.WaitForRequests(2);
  EXPECT_NE(requests[0].sampling.seed, requests[1].sampling.seed);
}

TEST(AnswerJob, AStreamJoinsToThePlainAnswer) {
  TestServer server;
  server.EchoPrompts();
  auto exchange =
      server.Send(kCompletions, CompletionBody({{"stream", true},
                                                {"return_token_ids", true},
                                                {"stream_options", {{"include_usage", true}}}}));
  ASSERT_TRUE(exchange->Wait());
  EXPECT_TRUE(exchange->streamed());
  const auto events = exchange->Events();
  ASSERT_EQ(events.size(), 10U);  // 8 tokens, usage, the end
  EXPECT_EQ(events.back(), "[DONE]");
  std::vector<int> ids;
  for (std::size_t i = 0; i < 8; ++i) {
    const Json chunk = Json::parse(events[i]);
    EXPECT_TRUE(chunk["usage"].is_null());
    for (const Json& id : chunk["choices"][0]["token_ids"]) ids.push_back(id.get<int>());
    EXPECT_EQ(chunk["choices"][0]["finish_reason"].is_null(), i < 7);
    EXPECT_EQ(chunk["choices"][0].contains("prompt_token_ids"), i == 0);
  }
  EXPECT_EQ(ids, (std::vector<int>{5, 6, 7, 5, 6, 7, 5, 6}));
  const Json last = Json::parse(events[8]);
  EXPECT_TRUE(last["choices"].empty());
  EXPECT_EQ(last["usage"]["completion_tokens"], 8);
}

TEST(AnswerJob, ContinuousUsageCountsUp) {
  TestServer server;
  server.EchoPrompts();
  auto exchange = server.Send(
      kCompletions,
      CompletionBody(
          {{"stream", true},
           {"stream_options", {{"include_usage", true}, {"continuous_usage_stats", true}}}}));
  ASSERT_TRUE(exchange->Wait());
  const auto events = exchange->Events();
  for (std::size_t i = 0; i < 8; ++i)
    EXPECT_EQ(Json::parse(events[i])["usage"]["completion_tokens"], i + 1);
}

TEST(AnswerJob, AStopTokenIsNamedAndCounted) {
  TestServer server;
  server.gateway.on_submit = [&](const Request& request) {
    server.gateway.EmitTokens(request.id, {9, 8, 44}, FinishReason::kStop, 44);
  };
  const Json body = server.Ask(
      kCompletions, CompletionBody({{"stop_token_ids", {44}}, {"return_token_ids", true}}));
  EXPECT_EQ(body["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(body["choices"][0]["stop_reason"], 44);
  EXPECT_EQ(WriteJson(body["choices"][0]["token_ids"]), "[9,8,44]");
  EXPECT_EQ(body["usage"]["completion_tokens"], 3);
}

PositionLogprobs Position(TokenId token, float logprob, TokenId best, float best_logprob) {
  return {{{token, logprob, 2}, {best, best_logprob, 1}, {token, logprob, 2}}};
}

TEST(AnswerJob, LogprobsOfTokensAndOfThePrompt) {
  TestServer server;
  server.gateway.on_submit = [&](const Request& request) {
    EXPECT_EQ(request.sampling.num_logprobs, 2);
    EXPECT_EQ(request.sampling.num_prompt_logprobs, 2);
    RequestOutput first;
    first.id = request.id;
    first.prompt_logprobs_begin = 1;
    first.prompt_logprobs = {Position(6, -2, 9, -0.5F)};
    server.gateway.Emit(first);
    RequestOutput second;
    second.id = request.id;
    second.prompt_logprobs_begin = 2;
    second.prompt_logprobs = {Position(7, -3, 9, -0.25F)};
    second.tokens = {11};
    second.logprobs = {Position(11, -1, 12, -0.125F)};
    second.finish_reason = FinishReason::kLength;
    server.gateway.Emit(second);
  };
  const Json body =
      server.Ask(kCompletions, CompletionBody({{"echo", true},
                                               {"logprobs", 2},
                                               {"prompt_logprobs", 1},
                                               {"max_tokens", 1},
                                               {"return_tokens_as_token_ids", true}}));
  const Json& choice = body["choices"][0];
  EXPECT_EQ(WriteJson(choice["logprobs"]["tokens"]),
            R"(["token_id:5","token_id:6","token_id:7","token_id:11"])");
  EXPECT_EQ(WriteJson(choice["logprobs"]["token_logprobs"]), "[null,-2.0,-3.0,-1.0]");
  EXPECT_EQ(WriteJson(choice["logprobs"]["top_logprobs"][3]),
            R"({"token_id:11":-1.0,"token_id:12":-0.125})");
  EXPECT_EQ(WriteJson(choice["prompt_logprobs"]),
            R"([null,{"6":{"logprob":-2.0,"rank":2,"decoded_token":"token_id:6"},)"
            R"("9":{"logprob":-0.5,"rank":1,"decoded_token":"token_id:9"}},)"
            R"({"7":{"logprob":-3.0,"rank":2,"decoded_token":"token_id:7"},)"
            R"("9":{"logprob":-0.25,"rank":1,"decoded_token":"token_id:9"}}])");
}

TEST(AnswerJob, CachedTokensAreToldWhereEnabled) {
  ServerOptions options = TestOptions();
  options.enable_prompt_tokens_details = true;
  TestServer server(options);
  server.gateway.on_submit = [&](const Request& request) {
    RequestOutput output;
    output.id = request.id;
    output.tokens = {1};
    output.num_cached_tokens = 2;
    output.finish_reason = FinishReason::kLength;
    server.gateway.Emit(output);
  };
  const Json body = server.Ask(kCompletions, CompletionBody());
  EXPECT_EQ(body["usage"]["prompt_tokens_details"]["cached_tokens"], 2);
}

TEST(AnswerJob, AClientThatLeavesIsCancelledAndCountedOnce) {
  TestServer server;
  auto exchange = server.Send(kCompletions, CompletionBody({{"n", 3}, {"stream", true}}));
  const auto requests = server.gateway.WaitForRequests(3);
  RequestOutput output;
  output.id = requests[0].id;
  output.tokens = {1};
  server.gateway.Emit(output);
  ASSERT_TRUE(exchange->WaitForText("data: "));
  exchange->Close();
  EXPECT_EQ(server.gateway.WaitForCancels(3).size(), 3U);
  while (server.api.core().admission.num_requests() > 0) std::this_thread::yield();
  EXPECT_EQ(server.Sample("vllm:request_success_total{engine=\"0\",finished_reason=\"abort\""), 3);
  EXPECT_EQ(server.Sample("vllm:request_success_total"), 3);
  EXPECT_EQ(server.Sample("quire:requests_cancelled_total"), 1);
  EXPECT_EQ(server.Sample("vllm:num_requests_waiting"), 0);
  EXPECT_EQ(server.api.core().admission.num_sequences(), 0);
}

TEST(AnswerJob, ADeadEngineEndsPlainAnswersAndStreamsWithAnError) {
  TestServer server;
  for (const bool stream : {false, true}) {
    auto exchange = server.Send(kCompletions, CompletionBody({{"stream", stream}}));
    const auto requests = server.gateway.WaitForRequests(stream ? 2 : 1);
    RequestOutput output;
    output.id = requests.back().id;
    output.tokens = {1};
    server.gateway.Emit(output);
    output.tokens.clear();
    output.finish_reason = FinishReason::kError;
    output.error = "the logits held NaN";
    server.gateway.Emit(output);
    ASSERT_TRUE(exchange->Wait());
    if (stream) {
      const auto events = exchange->Events();
      ASSERT_EQ(events.size(), 3U);
      EXPECT_EQ(Json::parse(events[1])["error"]["code"], "engine_failure");
      EXPECT_NE(events[1].find("the logits held NaN"), std::string::npos);
      EXPECT_EQ(events[2], "[DONE]");
    } else {
      EXPECT_EQ(exchange->response().status, 500);
      EXPECT_EQ(Error(Json::parse(exchange->response().body), "code"), "engine_failure");
    }
  }
  EXPECT_EQ(server.Sample("quire:requests_failed_total"), 2);
  EXPECT_EQ(server.api.core().admission.num_sequences(), 0);
}

TEST(AnswerJob, AQueueThatIsFullRefusesAndServesAgain) {
  ServerOptions options = TestOptions();
  options.max_num_queued_reqs = 2;
  TestServer server(options);  // 4 run, 2 wait
  std::vector<std::shared_ptr<test::FakeExchange>> exchanges;
  exchanges.push_back(server.Send(kCompletions, CompletionBody({{"n", 4}})));
  server.gateway.WaitForRequests(4);
  const Json refused = server.Ask(kCompletions, CompletionBody({{"n", 3}}));
  EXPECT_EQ(Error(refused, "type"), "rate_limit_error");
  const Json never = server.Ask(kCompletions, CompletionBody({{"n", 7}}));
  EXPECT_EQ(Error(never, "param"), "n");
  exchanges.push_back(server.Send(kCompletions, CompletionBody({{"n", 2}})));
  const auto requests = server.gateway.WaitForRequests(6);
  auto third = server.Send(kCompletions, CompletionBody());
  ASSERT_TRUE(third->Wait());
  EXPECT_EQ(third->response().status, 429);
  ASSERT_FALSE(third->response().headers.empty());
  EXPECT_EQ(third->response().headers[0].name, "Retry-After");
  EXPECT_EQ(server.Sample("quire:requests_refused_total"), 2);
  for (const Request& request : requests) server.gateway.EmitTokens(request.id, {1});
  for (auto& exchange : exchanges) EXPECT_TRUE(exchange->Wait());
  server.EchoPrompts();
  EXPECT_TRUE(server.Ask(kCompletions, CompletionBody()).contains("choices"));
}

TEST(AnswerJob, LengthsAreCheckedBeforeTheEngineSeesThem) {
  TestServer server;
  server.EchoPrompts();
  const std::vector<int> nearly(252, 5);
  EXPECT_EQ(Error(server.Ask(kCompletions, CompletionBody({{"prompt", nearly}, {"max_tokens", 5}})),
                  "code"),
            "context_length_exceeded");
  EXPECT_TRUE(server.Ask(kCompletions, CompletionBody({{"prompt", nearly}, {"max_tokens", 4}}))
                  .contains("choices"));
  // The default gives way, what was asked for does not.
  const Json cut =
      server.Ask(kCompletions, CompletionBody({{"prompt", nearly}, {"max_tokens", nullptr}}));
  EXPECT_EQ(cut["usage"]["completion_tokens"], 4);
  const std::vector<int> full(256, 5);
  EXPECT_EQ(Error(server.Ask(kCompletions, CompletionBody({{"prompt", full}, {"max_tokens", 1}})),
                  "param"),
            "prompt");
  EXPECT_EQ(Error(server.Ask(kCompletions, CompletionBody({{"min_tokens", 9}})), "param"),
            "min_tokens");
  const Json truncated = server.Ask(
      kCompletions,
      CompletionBody({{"prompt", std::vector<int>(300, 6)}, {"truncate_prompt_tokens", 2}}));
  EXPECT_EQ(truncated["usage"]["prompt_tokens"], 2) << WriteJson(truncated);
}

TEST(AnswerJob, APromptThatNeedsMoreBlocksThanThereAreIsRefused) {
  ServedModel model = TestModel();
  model.info.num_blocks = 2;  // 32 tokens
  TestServer server(TestOptions(), model);
  server.EchoPrompts();
  const Json body = server.Ask(
      kCompletions, CompletionBody({{"prompt", std::vector<int>(30, 5)}, {"max_tokens", 8}}));
  EXPECT_EQ(Error(body, "code"), "context_length_exceeded");
}

TEST(AnswerJob, EchoWithoutTokensScoresThePromptAlone) {
  TestServer server;
  server.EchoPrompts();
  const Json body =
      server.Ask(kCompletions,
                 CompletionBody({{"echo", true}, {"max_tokens", 0}, {"return_token_ids", true}}));
  EXPECT_EQ(WriteJson(body["choices"][0]["token_ids"]), "[]");
  EXPECT_EQ(body["usage"]["completion_tokens"], 0);
}

// Random clients, lengths, deaths and departures: accepted = completed + failed + cancelled, and
// nothing is left.
TEST(AnswerJob, TheLedgerAddsUp) {
  ServerOptions options = TestOptions();
  options.max_num_queued_reqs = 8;
  TestServer server(options);
  std::mt19937 random(1);
  std::map<std::uint64_t, int> left;
  std::vector<std::shared_ptr<test::FakeExchange>> exchanges;
  std::size_t seen = 0;
  for (int turn = 0; turn < 400; ++turn) {
    exchanges.push_back(server.Send(
        kCompletions, CompletionBody({{"n", 1 + random() % 3}, {"stream", random() % 2 == 0}})));
    for (const Request& request : server.gateway.WaitForRequests(seen)) {
      if (random() % 4 != 0) continue;
      RequestOutput output;
      output.id = request.id;
      output.tokens = {3};
      const unsigned what = random() % 8;
      if (what < 4) output.finish_reason = FinishReason::kLength;
      if (what == 4) output.finish_reason = FinishReason::kError;
      server.gateway.Emit(output);
    }
    if (random() % 3 == 0) exchanges[random() % exchanges.size()]->Close();
    seen = server.gateway.WaitForRequests(0).size();
    std::this_thread::sleep_for(
        std::chrono::microseconds(200));  // so that some are served before they leave
  }
  for (auto& exchange : exchanges) exchange->Close();
  for (int i = 0; i < 2000 && server.api.core().admission.num_sequences() > 0; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_EQ(server.api.core().admission.num_sequences(), 0);
  EXPECT_EQ(server.api.core().admission.num_requests(), 0);
  EXPECT_TRUE(server.api.core().active().empty());
  const double accepted = server.Sample("quire:requests_accepted_total");
  EXPECT_GT(accepted, 20);
  EXPECT_EQ(accepted, server.Sample("quire:requests_completed_total") +
                          server.Sample("quire:requests_failed_total") +
                          server.Sample("quire:requests_cancelled_total"));
}

}  // namespace
}  // namespace quire
