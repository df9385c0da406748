#include "bench/server_facts.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <map>
#include <string>

#include "net/http_test_kit.h"

namespace quire {
namespace {

using std::chrono::milliseconds;

// Owns a server that answers GETs by path, 404 elsewhere.
class PathServer {
 public:
  explicit PathServer(std::map<std::string, std::string> bodies, std::string headers = "")
      : server_([bodies = std::move(bodies),
                 headers = std::move(headers)](const ScriptedServer::Call& call) {
          const std::string path = call.message.substr(4, call.message.find(' ', 4) - 4);
          const auto body = bodies.find(path);
          call.Write(body == bodies.end() ? PlainAnswer("404 Not Found", "{}", headers)
                                          : PlainAnswer("200 OK", body->second, headers));
          return true;
        }) {}
  HttpClient Client() const { return {server_.url(), {}, milliseconds(2000)}; }

 private:
  ScriptedServer server_;
};

ServerFacts FactsOf(std::map<std::string, std::string> bodies, const std::string& headers,
                    const std::string& owned_by) {
  const PathServer server(std::move(bodies), headers);
  HttpClient client = server.Client();
  ServerModel model;
  model.id = "m";
  model.owned_by = owned_by;
  return AskServer(client, model);
}

TEST(ModelsFromText, ReadsWhatServersSay) {
  const auto models = ModelsFromText(
      R"({"object":"list","data":[{"id":"a","owned_by":"vllm","root":"/m/a","max_model_len":512},)"
      R"({"id":"b","max_model_len":"x","root":7}]})");
  ASSERT_TRUE(models);
  ASSERT_EQ(models->size(), 2u);
  EXPECT_EQ((*models)[0].owned_by, "vllm");
  EXPECT_EQ((*models)[0].max_model_len, 512);
  EXPECT_EQ((*models)[1].max_model_len, 0);
  EXPECT_EQ((*models)[1].root, "");
}

TEST(ModelsFromText, HostileTextsAreErrors) {
  for (const char* text : {"", "[]", "{", "{\"data\":{}}", "{\"data\":[1]}", "{\"data\":[{}]}",
                           "{\"data\":[{\"id\":3}]}", "{\"data\":[null]}", "<html>", "\xff\xfe"}) {
    const auto models = ModelsFromText(text);
    ASSERT_FALSE(models) << text;
    EXPECT_EQ(models.error().kind, ErrorKind::kUnavailable);
  }
  EXPECT_EQ((*ModelsFromText(R"({"data":[{"id":"a","max_model_len":-5}]})"))[0].max_model_len, 0);
  EXPECT_EQ((*ModelsFromText(R"({"data":[{"id":"a","max_model_len":18446744073709551615}]})"))[0]
                .max_model_len,
            0);
}

TEST(ChooseModel, TakesTheFirstOrTheOneThatIsNamed) {
  const auto models = ModelsFromText(R"({"data":[{"id":"a"},{"id":"b\u001b[31m"}]})");
  ASSERT_TRUE(models);
  EXPECT_EQ(ChooseModel(*models, "")->id, "a");
  EXPECT_EQ(ChooseModel(*models, "b\x1b[31m")->id, "b\x1b[31m");
  const auto none = ChooseModel(*models, "c");
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().kind, ErrorKind::kConfig);
  EXPECT_EQ(none.error().message.find('\x1b'), std::string::npos);
  EXPECT_FALSE(ChooseModel({}, ""));
}

TEST(AskServer, TellsServersApart) {
  const std::string gauge = "num_requests_running 0\n";
  EXPECT_EQ(FactsOf({{"/version", R"({"version":"0.1.0"})"},
                     {"/metrics", "vllm:" + gauge + "quire:requests_in_flight 0\n"}},
                    "Server: quire\r\n", "quire")
                .name,
            "Quire 0.1.0");
  const ServerFacts told = FactsOf(
      {{"/version",
        R"({"version":"0.1.0","device":"NVIDIA H200","dtype":"bfloat16","weight_bytes":2000000000})"}},
      "Server: quire\r\n", "quire");
  EXPECT_EQ(told.device, "NVIDIA H200");
  EXPECT_EQ(told.dtype, "bfloat16");
  EXPECT_EQ(told.weights_gb, 2.0);
  const ServerFacts vllm =
      FactsOf({{"/version", R"({"version":"0.23.0"})"}, {"/metrics", "vllm:" + gauge}},
              "Server: uvicorn\r\n", "org");
  EXPECT_EQ(vllm.name, "vLLM 0.23.0");
  EXPECT_TRUE(vllm.has_gauges);
  EXPECT_TRUE(vllm.needs_gpu);
  EXPECT_EQ(
      FactsOf({{"/get_server_info", R"({"version":"0.5.1"})"}}, "Server: uvicorn\r\n", "sglang")
          .name,
      "SGLang 0.5.1");
  const ServerFacts llama =
      FactsOf({{"/props", R"({"build_info":"b6700-abc"})"}}, "Server: llama.cpp\r\n", "llamacpp");
  EXPECT_EQ(llama.name, "llama.cpp b6700-abc");
  EXPECT_FALSE(llama.has_gauges);
  EXPECT_EQ(FactsOf({}, "Server: nginx/1.2\r\n", "").name, "nginx/1.2");
  EXPECT_EQ(FactsOf({}, "Server: uvicorn\r\n", "me").name, "");
}

TEST(AskServer, NothingHostileReachesATerminal) {
  const ServerFacts facts = FactsOf(
      {{"/version", "{\"version\":\"1\\u001b]0;x\\u0007\\n" + std::string(5000, 'v') + "\"}"},
       {"/metrics", std::string(100000, '{')}},
      "", "vllm");
  EXPECT_LT(facts.name.size(), 300u);
  for (const char c : facts.name) EXPECT_TRUE(static_cast<unsigned char>(c) >= 0x20) << facts.name;
  EXPECT_EQ(FactsOf({{"/version", "[1"}}, "", "vllm").name, "vLLM");
}

TEST(AwaitModels, WaitsForAServerThatComes) {
  std::atomic<int> asked = 0;
  ScriptedServer server([&](const ScriptedServer::Call& call) {
    call.Write(++asked < 3 ? PlainAnswer("503 Service Unavailable", "")
                           : PlainAnswer("200 OK", R"({"data":[{"id":"a"}]})"));
    return true;
  });
  HttpClient client(server.url(), {}, milliseconds(1000));
  const auto once = AwaitModels(client, server.url(), 0, nullptr);
  ASSERT_FALSE(once);
  EXPECT_NE(once.error().message.find("503"), std::string::npos);
  const auto models = AwaitModels(client, server.url(), 30, nullptr);
  ASSERT_TRUE(models);
  EXPECT_EQ(asked, 3);
}

TEST(AwaitModels, SomeAnswersAreFinal) {
  std::string status = "401 Unauthorized";
  std::atomic<int> asked = 0;
  ScriptedServer server([&](const ScriptedServer::Call& call) {
    ++asked;
    call.Write(PlainAnswer(status, ""));
    return true;
  });
  HttpClient client(server.url(), {}, milliseconds(1000));
  const auto refused = AwaitModels(client, server.url(), 30, nullptr);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("--api-key"), std::string::npos);
  status = "404 Not Found";
  EXPECT_EQ(AwaitModels(client, server.url(), 30, nullptr).error().kind, ErrorKind::kNotFound);
  status = "500 Oops";
  const std::atomic<bool> stop = true;
  EXPECT_FALSE(AwaitModels(client, server.url(), 30, &stop));
  EXPECT_EQ(asked, 3);
}

TEST(IsLoopback, KnowsTheLoopOnly) {
  const auto is = [](const char* host) { return IsLoopback(Url{host, 1, ""}); };
  EXPECT_TRUE(is("localhost") && is("127.0.0.1") && is("127.1.2.3") && is("::1"));
  EXPECT_FALSE(is("127.evil.example") || is("10.0.0.1") || is("localhost.example") || is(""));
}

}  // namespace
}  // namespace quire
