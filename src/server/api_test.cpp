#include "server/api.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "server/test_support.h"

namespace quire {
namespace {

using test::FakeGateway;
using test::TestOptions;
using test::TestServer;

HttpHead Head(const std::string& method, const std::string& path,
              std::vector<HttpHeader> headers = {{"Content-Type", "application/json"}}) {
  HttpHead head;
  head.method = method;
  head.path = path;
  head.headers = std::move(headers);
  return head;
}

int StatusOf(const Api& api, const HttpHead& head) {
  const auto response = api.CheckHead(head);
  return response ? response->status : 0;
}

TEST(Api, UrlsMethodsAndMediaTypes) {
  TestServer server;
  const Api& api = server.api;
  for (const char* path : {"/v1/unknown", "//v1//models", "/v1/../admin", "/v1/%2e%2e/admin",
                           "/V1/models", "/v1/completions/extra", "/v1/models%00", "/", ""})
    EXPECT_EQ(StatusOf(api, Head("GET", path)), 404) << path;
  EXPECT_EQ(StatusOf(api, Head("POST", "/v1/completions")), 0);
  EXPECT_EQ(StatusOf(api, Head("POST", "/ping", {})), 0);
  EXPECT_EQ(StatusOf(api, Head("GET", "/ping", {})), 0);
  const auto get = api.CheckHead(Head("GET", "/v1/chat/completions"));
  ASSERT_TRUE(get);
  EXPECT_EQ(get->status, 405);
  EXPECT_EQ(get->headers[0].value, "POST");
  EXPECT_EQ(StatusOf(api, Head("POST", "/v1/models")), 405);
  EXPECT_EQ(StatusOf(api, Head("TRACE", "/v1/models")), 405);
  for (const char* type :
       {"", "text/plain", "application/json; charset=latin1", "application/jsonx",
        "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"})
    EXPECT_EQ(StatusOf(api, Head("POST", "/tokenize", {{"Content-Type", type}})), 415) << type;
  for (const char* type : {"application/json", "Application/JSON; charset=UTF-8",
                           "application/json;charset=\"utf-8\"", "application/json; x=y"})
    EXPECT_EQ(StatusOf(api, Head("POST", "/tokenize", {{"content-type", type}})), 0) << type;
  EXPECT_EQ(
      StatusOf(api, Head("POST", "/tokenize",
                         {{"Content-Type", "application/json"}, {"Content-Encoding", "gzip"}})),
      415);
}

TEST(Api, KeysGuardAllButHealth) {
  ServerOptions options = TestOptions();
  options.api_keys = {"sk-one", "sk-two"};
  FakeGateway gateway;
  const Api api(options, gateway);
  auto with = [&](const char* path, std::vector<std::string> authorization) {
    HttpHead head = Head("GET", path, {});
    for (std::string& value : authorization)
      head.headers.push_back({"Authorization", std::move(value)});
    return StatusOf(api, head);
  };
  for (const char* path : {"/v1/models", "/metrics", "/version", "/load", "/v1/none"}) {
    EXPECT_EQ(with(path, {}), 401) << path;
    EXPECT_NE(with(path, {"Bearer sk-one"}), 401) << path;
  }
  EXPECT_EQ(with("/health", {}), 0);
  EXPECT_EQ(with("/ping", {}), 0);
  for (const char* value :
       {"", "Bearer", "Bearer ", "sk-one", "Basic c2s=", "Bearer sk-on", "Bearer sk-onex",
        "Bearer SK-ONE", "Token sk-one", "Bearer sk-one sk-one", "Bearer \"sk-one\""})
    EXPECT_EQ(with("/v1/models", {value}), 401) << value;
  EXPECT_EQ(with("/v1/models", {"bearer sk-two"}), 0);
  EXPECT_EQ(with("/v1/models", {"Bearer wrong", "Bearer sk-one"}), 401);
  EXPECT_EQ(with("/v1/models", {"Bearer sk-one", "Bearer sk-one"}), 401);
  const auto refused = api.CheckHead(Head("GET", "/v1/models", {}));
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->headers[0].name, "WWW-Authenticate");
  EXPECT_EQ(Json::parse(refused->body)["error"]["code"], "invalid_api_key");
  EXPECT_EQ(refused->body.find("sk-"), std::string::npos);
}

TEST(Api, ModelsAreListedAndFound) {
  TestServer server;
  const Json list = Json::parse(server.Get("/v1/models")->response().body);
  ASSERT_EQ(list["data"].size(), 2U);
  EXPECT_EQ(list["data"][0]["id"], "m");
  EXPECT_EQ(list["data"][0]["max_model_len"], 256);
  EXPECT_EQ(Json::parse(server.Get("/v1/models/alias%2Fm")->response().body)["id"], "alias/m");
  EXPECT_EQ(Json::parse(server.Get("/v1/models/alias/m")->response().body)["id"], "alias/m");
  for (const char* path :
       {"/v1/models/none", "/v1/models/../../etc", "/v1/models/%", "/v1/models/%6"})
    EXPECT_EQ(server.Get(path)->response().status, 404) << path;
}

TEST(Api, HealthIsTheEnginesState) {
  FakeGateway gateway;
  gateway.SetState(EngineState::kLoading);
  Api api(TestOptions(), gateway);
  auto get = [&](const char* method, const char* path) {
    auto exchange = std::make_shared<test::FakeExchange>(method, path, "");
    api.Handle(exchange);
    return exchange->response();
  };
  auto post = [&](const char* path) {
    auto exchange = std::make_shared<test::FakeExchange>("POST", path, "{}");
    api.Handle(exchange);
    EXPECT_TRUE(exchange->Wait());
    return exchange->response();
  };
  EXPECT_EQ(get("GET", "/health").status, 503);
  EXPECT_EQ(get("GET", "/v1/models").status, 503);
  const HttpResponse loading = post("/v1/completions");
  EXPECT_EQ(loading.status, 503);
  EXPECT_EQ(loading.headers[0].name, "Retry-After");
  EXPECT_EQ(Json::parse(loading.body)["error"]["code"], "model_loading");
  EXPECT_EQ(post("/tokenize").status, 503);
  gateway.SetState(EngineState::kReady);
  EXPECT_EQ(get("GET", "/health").status, 503);  // the front end does not know the model yet
  api.SetModel(test::TestModel());
  EXPECT_EQ(get("GET", "/health").status, 200);
  EXPECT_EQ(get("POST", "/ping").status, 200);
  EXPECT_EQ(get("GET", "/v1/models").status, 200);
  gateway.SetState(EngineState::kRestarting);
  EXPECT_EQ(get("GET", "/health").status, 503);
  EXPECT_EQ(get("GET", "/v1/models").status, 200);
  EXPECT_EQ(Json::parse(post("/v1/chat/completions").body)["error"]["code"], "engine_restarting");
}

TEST(Api, SmallRoutesAnswer) {
  TestServer server;
  const Json version = Json::parse(server.Get("/version")->response().body);
  EXPECT_TRUE(version["version"].is_string());
  EXPECT_TRUE(version["weight_bytes"].is_number());
  EXPECT_EQ(server.Get("/load")->response().body, R"({"server_load":0})");
  auto exchange = server.Send("/v1/completions", test::CompletionBody());
  const auto requests = server.gateway.WaitForRequests(1);
  EXPECT_EQ(server.Get("/load")->response().body, R"({"server_load":1})");
  server.gateway.EmitTokens(requests[0].id, {1});
  ASSERT_TRUE(exchange->Wait());
  EXPECT_EQ(server.Get("/load")->response().body, R"({"server_load":0})");
}

TEST(Api, ErrorsHaveAllFourMembers) {
  TestServer server;
  for (const char* body : {"", "{", "[1]", "42", "null", "{\"model\":\"m\"}", "{\"model\":1}"}) {
    auto exchange = std::make_shared<test::FakeExchange>("POST", "/v1/completions", body);
    server.api.Handle(exchange);
    ASSERT_TRUE(exchange->Wait());
    EXPECT_EQ(exchange->response().status, 400) << body;
    const Json error = Json::parse(exchange->response().body)["error"];
    for (const char* name : {"message", "type", "param", "code"})
      EXPECT_TRUE(error.contains(name)) << body;
    EXPECT_EQ(error["type"], "invalid_request_error");
  }
  EXPECT_EQ(server.Sample("quire:requests_invalid_total"), 7);
}

TEST(Api, WithoutATokenizerTextIsRefused) {
  TestServer server;
  auto code = [&](const char* path, const Json& body) {
    return server.Ask(path, body)["error"]["code"].get<std::string>();
  };
  EXPECT_EQ(code("/v1/completions", test::CompletionBody({{"prompt", "text"}})),
            "tokenizer_missing");
  EXPECT_EQ(code("/v1/chat/completions", test::ChatBody()), "tokenizer_missing");
  EXPECT_EQ(code("/tokenize", {{"prompt", "text"}}), "tokenizer_missing");
  EXPECT_EQ(code("/detokenize", {{"tokens", {1}}}), "tokenizer_missing");
}

TEST(Api, StoppingEndsWhatIsUnderWay) {
  FakeGateway gateway;
  auto exchange = std::make_shared<test::FakeExchange>("POST", "/v1/completions",
                                                       WriteJson(test::CompletionBody()));
  {
    Api api(TestOptions(), gateway);
    api.SetModel(test::TestModel());
    api.Handle(exchange);
    gateway.WaitForRequests(1);
  }
  EXPECT_EQ(gateway.WaitForCancels(1).size(), 1U);
  gateway.EmitTokens(gateway.WaitForRequests(1)[0].id, {1, 2});  // reaches nobody
}

}  // namespace
}  // namespace quire
