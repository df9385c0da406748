#include "bench/prompt_codec.h"

#include <fmt/format.h>

#include <atomic>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "bench/dataset_test_kit.h"
#include "net/http_test_kit.h"

namespace quire {
namespace {

TEST(LocalPromptCodec, ReadsATokenizer) {
  const auto codec = FolderCodec(DemoModelFolder());
  ASSERT_NE(codec, nullptr);
  EXPECT_EQ(codec->vocab_size(), 512);
  const auto ids = codec->Encode("Once upon a time");
  ASSERT_TRUE(ids.ok());
  EXPECT_EQ(*codec->Decode(*ids), "Once upon a time");
  EXPECT_TRUE(codec->IsSpecial(1));  // <s>
  EXPECT_FALSE(codec->IsSpecial(ids->back()));
  EXPECT_TRUE(codec->IsSpecial(100000));
  EXPECT_FALSE(LocalPromptCodec("/nonexistent").ok());
}

// Owns a server with the routes /tokenize and /detokenize of a tokenizer.
class TokenizeServer {
 public:
  TokenizeServer(PromptCodec& codec, bool refuses_unknown_ids)
      : codec_(codec),
        refuses_(refuses_unknown_ids),
        server_([this](const ScriptedServer::Call& call) {
          ++num_requests;
          call.Write(Answer(call));
          return true;
        }) {}

  Url url() const { return server_.url(); }
  std::atomic<int> num_requests{0};

 private:
  std::string Answer(const ScriptedServer::Call& call) {
    const auto body = ParseJson(call.body);
    if (!body || body->value("model", "") != "demo") return PlainAnswer("400 Bad Request", "{}");
    if (call.message.find("Authorization: Bearer key") == std::string::npos) {
      return PlainAnswer("401 Unauthorized", "{}");
    }
    if (call.message.rfind("POST /tokenize ", 0) == 0) {
      if (body->value("add_special_tokens", true)) return PlainAnswer("400 Bad Request", "{}");
      const auto ids = codec_.Encode(body->at("prompt").get<std::string>());
      return PlainAnswer(
          "200 OK", fmt::format(R"({{"count":{},"max_model_len":512,"tokens":[{}]}})", ids->size(),
                                fmt::join(*ids, ",")));
    }
    const auto ids = body->at("tokens").get<std::vector<TokenId>>();
    for (const TokenId id : ids) {
      if (refuses_ && id >= codec_.vocab_size()) return PlainAnswer("400 Bad Request", "{}");
    }
    std::string text = R"({"prompt":)";
    AppendJsonString(text, *codec_.Decode(ids));
    return PlainAnswer("200 OK", text + "}");
  }

  PromptCodec& codec_;
  bool refuses_;
  ScriptedServer server_;
};

const std::vector<HttpHeader> kKey = {{"Authorization", "Bearer key"}};

TEST(RemotePromptCodec, AsksTheServer) {
  const auto local = FolderCodec(DemoModelFolder());
  ASSERT_NE(local, nullptr);
  for (const bool refuses : {true, false}) {
    TokenizeServer server(*local, refuses);
    auto remote = RemotePromptCodec(server.url(), kKey, "demo");
    ASSERT_TRUE(remote.ok()) << remote.error().message;
    EXPECT_EQ((*remote)->vocab_size(), 512);
    EXPECT_LT(server.num_requests, 40);
    const std::string text = "The \"little\" dog\n\xF0\x9F\x90\x95";
    const auto ids = (*remote)->Encode(text);
    ASSERT_TRUE(ids.ok());
    EXPECT_EQ(*ids, *local->Encode(text));
    EXPECT_EQ(*(*remote)->Decode(*ids), text);

    DatasetOptions options = DatasetNamed("random");
    options.num_prompts = 100;
    options.random_input_len = 50;
    server.num_requests = 0;
    const BenchWorkload workload = WorkloadOf(options, remote->get());
    EXPECT_LT(server.num_requests, 120);
    ASSERT_EQ(workload.NumRequests(), 100);
    ExpectExactLengths(workload, *local);
  }
}

TEST(RemotePromptCodec, SaysWhatTheServerLacks) {
  const char* const answers[] = {"{}",
                                 "[]",
                                 "nonsense",
                                 R"({"tokens": 5})",
                                 R"({"tokens": ["a"]})",
                                 R"({"tokens": [-1]})",
                                 R"({"tokens": [99999999999]})",
                                 R"({"tokens": [1.5]})",
                                 R"({"tokens": []})",
                                 R"({"tokens": [1], "prompt": 7})",
                                 R"({"tokens": [1], "prompt": ""})"};
  for (const char* answer : answers) {
    ScriptedServer server([&](const ScriptedServer::Call& call) {
      call.Write(PlainAnswer("200 OK", answer));
      return true;
    });
    const auto codec = RemotePromptCodec(server.url(), {}, "m");
    ASSERT_FALSE(codec.ok()) << answer;
    EXPECT_NE(codec.error().message.find("--tokenizer"), std::string::npos);
  }
  ScriptedServer server([&](const ScriptedServer::Call& call) {
    call.Write(PlainAnswer("404 Not Found", "{}"));
    return true;
  });
  const auto codec = RemotePromptCodec(server.url(), {}, "m");
  ASSERT_FALSE(codec.ok());
  EXPECT_NE(codec.error().message.find("/tokenize with status 404"), std::string::npos);
  EXPECT_EQ(codec.error().kind, ErrorKind::kConfig);
}

// A server that has text for every id: the search ends.
TEST(RemotePromptCodec, VocabularyHasABound) {
  ScriptedServer server([&](const ScriptedServer::Call& call) {
    call.Write(PlainAnswer("200 OK", R"({"tokens": [2147483647], "prompt": "a"})"));
    return true;
  });
  const auto codec = RemotePromptCodec(server.url(), {}, "m");
  ASSERT_TRUE(codec.ok());
  EXPECT_EQ((*codec)->vocab_size(), (1 << 22) + 1);
}

}  // namespace
}  // namespace quire
