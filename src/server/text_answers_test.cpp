// What depends on text: stop strings, echo, log-probabilities of tokens, chats, /tokenize. With a
// tokenizer of bytes.
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "server/choice.h"
#include "server/test_support.h"

namespace quire {
namespace {

using test::ChatBody;
using test::CompletionBody;
using test::TestServer;

constexpr const char* kTemplate =
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}";

ServedModel ModelWithText() {
  ServedModel model = test::TestModel();
  model.tokenizer = test::ByteTokenizer();
  auto chat_template = ChatTemplate::Parse(kTemplate);
  if (chat_template) model.chat_template = *chat_template;
  return model;
}

std::vector<TokenId> Bytes(const std::string& text) {
  std::vector<TokenId> ids;
  for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
  return ids;
}

class TextAnswers : public testing::Test {
 protected:
  TextAnswers() : server(test::TestOptions(), ModelWithText()) {}
  // Every request is answered with this text, a byte a token.
  void Answer(const std::string& text, FinishReason reason = FinishReason::kLength) {
    server.gateway.on_submit = [this, text, reason](const Request& request) {
      server.gateway.EmitTokens(request.id, Bytes(text), reason);
    };
  }
  std::string Joined(const std::shared_ptr<test::FakeExchange>& exchange, bool chat) {
    EXPECT_TRUE(exchange->Wait());
    std::string text;
    for (const std::string& event : exchange->Events()) {
      if (event == "[DONE]") break;
      const Json chunk = Json::parse(event);
      for (const Json& choice : chunk["choices"])
        text += chat ? choice["delta"].value("content", "") : choice["text"].get<std::string>();
    }
    return text;
  }

  TestServer server;
};

RequestOutput Output(const std::vector<TokenId>& tokens,
                     FinishReason reason = FinishReason::kNone) {
  RequestOutput output;
  output.tokens = tokens;
  output.finish_reason = reason;
  return output;
}

TEST(Choice, AStopStringCutsWhereverTheReportsEnd) {
  const auto tokenizer = test::ByteTokenizer();
  ASSERT_NE(tokenizer, nullptr);
  const std::string text = "grüße aus dem zug, ende. und mehr";
  const std::vector<TokenId> ids = Bytes(text);
  std::mt19937 random(2);
  for (int turn = 0; turn < 200; ++turn) {
    Choice choice({{"ende", "zzz"}, turn % 2 == 1, true, 0, false}, tokenizer, {257});
    std::string got;
    std::size_t at = 0;
    std::int32_t counted = 0;
    while (at < ids.size() && !choice.done()) {
      const std::size_t count = std::min<std::size_t>(1 + random() % 5, ids.size() - at);
      const auto begin = ids.begin() + static_cast<std::ptrdiff_t>(at);
      at += count;
      const ChoiceDelta delta =
          choice.Take(Output({begin, begin + static_cast<std::ptrdiff_t>(count)},
                             at == ids.size() ? FinishReason::kLength : FinishReason::kNone));
      got += delta.text;
      counted += static_cast<std::int32_t>(delta.tokens.size());
    }
    EXPECT_TRUE(choice.cut());
    EXPECT_EQ(got, turn % 2 == 1 ? "grüße aus dem zug, ende" : "grüße aus dem zug, ");
    EXPECT_EQ(choice.finish_reason(), FinishReason::kStop);
    EXPECT_EQ(choice.stop_string(), "ende");
    EXPECT_EQ(choice.num_tokens(),
              static_cast<std::int32_t>(std::string("grüße aus dem zug, ende").size()));
    EXPECT_EQ(counted, choice.num_tokens());
  }
}

TEST(Choice, WhatOnlyBeginsLikeAStopStringIsAllDelivered) {
  const auto tokenizer = test::ByteTokenizer();
  Choice choice({{"end!"}, false, true, 0, false}, tokenizer, {257});
  std::string got = choice.Take(Output(Bytes("the en"))).text;
  EXPECT_EQ(got, "the ");
  got += choice.Take(Output(Bytes("d"), FinishReason::kLength)).text;
  EXPECT_EQ(got, "the end");
  EXPECT_FALSE(choice.cut());
}

TEST(Choice, MinTokensHoldsStopStringsBackAndTheEosIsNotShown) {
  const auto tokenizer = test::ByteTokenizer();
  Choice choice({{"a"}, false, false, 3, false}, tokenizer, {257});
  EXPECT_EQ(choice.Take(Output(Bytes("aaa"))).text, "aaa");
  const ChoiceDelta delta = choice.Take(Output({'b', 257}, FinishReason::kStop));
  EXPECT_EQ(delta.text, "b");
  EXPECT_EQ(delta.tokens.size(), 2U);
  EXPECT_EQ(choice.num_tokens(), 5);
  EXPECT_EQ(choice.stop_token(), -1);
}

TEST_F(TextAnswers, StreamsAndPlainAnswersCutAtTheSamePlace) {
  Answer("hello wörld, stop here");
  const Json fields = {{"stop", {"stop"}}, {"max_tokens", 30}};
  const Json plain = server.Ask("/v1/completions", CompletionBody(fields));
  EXPECT_EQ(plain["choices"][0]["text"], "hello wörld, ");
  EXPECT_EQ(plain["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(plain["choices"][0]["stop_reason"], "stop");
  EXPECT_EQ(plain["usage"]["completion_tokens"], 18);
  Json stream = fields;
  stream["stream"] = true;
  EXPECT_EQ(Joined(server.Send("/v1/completions", CompletionBody(stream)), false), "hello wörld, ");
  EXPECT_EQ(server.Sample("vllm:generation_tokens_total"), 36);
}

TEST_F(TextAnswers, AChatHasItsRoleFirstAndItsFinishLast) {
  Answer("yes");
  const Json plain = server.Ask("/v1/chat/completions", ChatBody());
  ASSERT_TRUE(plain.contains("choices")) << WriteJson(plain);
  EXPECT_EQ(plain["object"], "chat.completion");
  EXPECT_EQ(plain["choices"][0]["message"]["role"], "assistant");
  EXPECT_EQ(plain["choices"][0]["message"]["content"], "yes");
  const std::string prompt = "[user]Hi\n[assistant]";
  EXPECT_EQ(plain["usage"]["prompt_tokens"], prompt.size());
  EXPECT_EQ(server.gateway.WaitForRequests(1)[0].prompt, Bytes(prompt));
  auto exchange = server.Send("/v1/chat/completions", ChatBody({{"stream", true}}));
  EXPECT_EQ(Joined(exchange, true), "yes");
  const auto events = exchange->Events();
  ASSERT_EQ(events.size(), 5U);
  EXPECT_EQ(Json::parse(events[0])["choices"][0]["delta"]["role"], "assistant");
  for (std::size_t i = 0; i < 4; ++i)
    EXPECT_EQ(Json::parse(events[i])["choices"][0]["finish_reason"].is_null(), i < 3);
}

TEST_F(TextAnswers, AChatWithoutABoundHasTheRestOfTheContext) {
  Answer("x");
  server.Ask("/v1/chat/completions", ChatBody({{"max_tokens", nullptr}}));
  const Request request = server.gateway.WaitForRequests(1)[0];
  EXPECT_EQ(request.sampling.max_tokens, 256 - static_cast<int>(request.prompt.size()));
}

TEST_F(TextAnswers, ChatLogprobsHaveBytesAndOrder) {
  server.gateway.on_submit = [&](const Request& request) {
    RequestOutput output = Output({'a'}, FinishReason::kLength);
    output.id = request.id;
    output.logprobs = {{{{'a', -0.5F, 1}, {'a', -0.5F, 1}, {0xC3, -1.5F, 2}}}};
    server.gateway.Emit(output);
  };
  const Json body =
      server.Ask("/v1/chat/completions", ChatBody({{"logprobs", true}, {"top_logprobs", 2}}));
  EXPECT_EQ(WriteJson(body["choices"][0]["logprobs"]),
            R"({"content":[{"token":"a","logprob":-0.5,"bytes":[97],"top_logprobs":[)"
            R"({"token":"a","logprob":-0.5,"bytes":[97]},)"
            "{\"token\":\"\xef\xbf\xbd\",\"logprob\":-1.5,\"bytes\":[195]}]}]}");
}

TEST_F(TextAnswers, EchoIsTheSentText) {
  Answer("!");
  const Json body =
      server.Ask("/v1/completions", CompletionBody({{"prompt", "Once upon"}, {"echo", true}}));
  EXPECT_EQ(body["choices"][0]["text"], "Once upon!");
  EXPECT_EQ(body["usage"]["prompt_tokens"], 9);
  auto stream =
      server.Send("/v1/completions",
                  CompletionBody({{"prompt", "Once upon"}, {"echo", true}, {"stream", true}}));
  EXPECT_EQ(Joined(stream, false), "Once upon!");
}

TEST_F(TextAnswers, LongTextsAreRefusedBeforeTheyAreTokenized) {
  const Json body =
      server.Ask("/v1/completions", CompletionBody({{"prompt", std::string(1 << 20, 'a')}}));
  EXPECT_EQ(body["error"]["code"], "context_length_exceeded");
  EXPECT_EQ(body["error"]["param"], "prompt");
}

TEST_F(TextAnswers, BadWordsAreSpelledWithAndWithoutASpace) {
  Answer("x");
  server.Ask("/v1/completions", CompletionBody({{"bad_words", {"no"}}}));
  const Request request = server.gateway.WaitForRequests(1)[0];
  EXPECT_EQ(request.sampling.bad_words,
            (std::vector<std::vector<TokenId>>{{'n', 'o'}, {' ', 'n', 'o'}}));
}

TEST_F(TextAnswers, TokenizeAndBack) {
  const Json body = server.Ask("/tokenize", {{"prompt", "añ"}, {"return_token_strs", true}});
  EXPECT_EQ(WriteJson(body),
            R"({"count":3,"max_model_len":256,"tokens":[97,195,177],"token_strs":["a","Ã","±"]})");
  const Json chat =
      server.Ask("/tokenize", {{"messages", Json::array({{{"role", "user"}, {"content", "Hi"}}})}});
  EXPECT_EQ(chat["count"], 20);
  EXPECT_EQ(server.Ask("/detokenize", {{"tokens", {97, 195, 177, 257}}})["prompt"], "añ</s>");
  for (const char* tokens : {"[-1]", R"(["a"])", "[258]", "[1.5]", R"("text")"})
    EXPECT_EQ(server.Ask("/detokenize", {{"tokens", Json::parse(tokens)}})["error"]["type"],
              "invalid_request_error")
        << tokens;
  for (const Json& prompt : {Json(5), Json(), Json{{"a", 1}}})
    EXPECT_EQ(server.Ask("/tokenize", {{"prompt", prompt}})["error"]["param"], "prompt");
}

TEST_F(TextAnswers, AFinalMessageIsContinued) {
  const Json messages = Json::parse(
      R"([{"role":"user","content":"Hi"},{"role":"assistant","content":"Once upon "}])");
  const Json body = server.Ask(
      "/tokenize",
      {{"messages", messages}, {"add_generation_prompt", false}, {"continue_final_message", true}});
  const std::string wanted = "[user]Hi\n[assistant]Once upon ";
  EXPECT_EQ(body["count"], wanted.size()) << WriteJson(body);
}

TEST_F(TextAnswers, TemplatesOfARequestNeedTrust) {
  const Json body = {{"messages", Json::array({{{"role", "user"}, {"content", "Hi"}}})},
                     {"chat_template", "<{{ messages[0].content }}>"}};
  EXPECT_EQ(server.Ask("/tokenize", body)["error"]["param"], "chat_template");
  ServerOptions options = test::TestOptions();
  options.trust_request_chat_template = true;
  TestServer trusting(options, ModelWithText());
  EXPECT_EQ(trusting.Ask("/tokenize", body)["count"], 4);
  Json broken = body;
  broken["chat_template"] = "{% if %}";
  EXPECT_EQ(trusting.Ask("/tokenize", broken)["error"]["param"], "chat_template");
}

TEST_F(TextAnswers, WithoutATemplateThereIsNoChat) {
  ServedModel model = ModelWithText();
  model.chat_template = nullptr;
  TestServer bare(test::TestOptions(), model);
  EXPECT_EQ(bare.Ask("/v1/chat/completions", ChatBody())["error"]["code"], "chat_template_missing");
}

}  // namespace
}  // namespace quire
