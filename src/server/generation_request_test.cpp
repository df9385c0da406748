#include "server/generation_request.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "server/test_support.h"

namespace quire {
namespace {

using test::ChatBody;
using test::CompletionBody;

const Json kText = "5", kNumber = 5, kWord = true, kList = Json::array(), kObject = Json::object();
const Json kListOfOne = Json::array({1});

Status Parse(bool chat, const Json& body, const ServerOptions& options = test::TestOptions()) {
  const ServedModel model = test::TestModel();
  if (chat) {
    auto request = ParseChat(body, options, model);
    return request ? Status() : Status(request.error());
  }
  auto request = ParseCompletion(body, options, model);
  return request ? Status() : Status(request.error());
}

Status ParseWith(bool chat, const std::string& name, const Json& value) {
  Json body = chat ? ChatBody() : CompletionBody();
  body[name] = value;
  return Parse(chat, body);
}

void ExpectNamed(const Status& status, const std::string& name, const std::string& what) {
  ASSERT_FALSE(status.ok()) << what << " was taken";
  const std::string& param = status.error().param;
  EXPECT_TRUE(param == name || param.rfind(name + ".", 0) == 0 || param.rfind(name + "[", 0) == 0)
      << what << ": param " << param;
  EXPECT_FALSE(status.error().code.empty()) << what;
  EXPECT_LT(status.error().message.size(), 400U) << what;
}

struct FieldRow {
  const char* name;
  std::vector<Json> wrong;
};

std::vector<FieldRow> SharedFields() {
  const std::vector<Json> integer = {kText, 1.5, kList, kObject};
  const std::vector<Json> real = {kText, kList, kObject};
  const std::vector<Json> flag = {"maybe", 7, kList, kObject};
  const std::vector<Json> text = {kNumber, kList, kObject, kWord};
  const std::vector<Json> array = {kText, kNumber, kObject};
  const std::vector<Json> map = {kText, kNumber, kListOfOne};
  return {{"model", text},
          {"max_tokens", integer},
          {"temperature", real},
          {"top_p", real},
          {"n", integer},
          {"stream", flag},
          {"presence_penalty", real},
          {"frequency_penalty", real},
          {"logit_bias", map},
          {"user", text},
          {"seed", integer},
          {"stop", {kNumber, kObject, kWord}},
          {"top_k", integer},
          {"min_p", real},
          {"repetition_penalty", real},
          {"stop_token_ids", array},
          {"ignore_eos", flag},
          {"min_tokens", integer},
          {"skip_special_tokens", flag},
          {"include_stop_str_in_output", flag},
          {"return_token_ids", flag},
          {"prompt_logprobs", integer},
          {"allowed_token_ids", array},
          {"bad_words", {kNumber, kObject}},
          {"structured_outputs", {kNumber, kListOfOne, kWord}},
          {"stream_options", {kNumber, kListOfOne, kWord}},
          {"response_format", {kNumber, kListOfOne, kText}},
          {"cache_salt", text},
          {"priority", {kList, kObject, 1.5, "high"}},
          {"request_id", text},
          {"truncate_prompt_tokens", integer},
          {"add_special_tokens", flag},
          {"return_tokens_as_token_ids", flag}};
}

std::vector<FieldRow> FieldsOf(bool chat) {
  std::vector<FieldRow> rows = SharedFields();
  const std::vector<Json> integer = {kText, 1.5, kList, kObject};
  const std::vector<Json> flag = {"maybe", 7, kList, kObject};
  if (chat) {
    rows.insert(rows.end(), {{"messages", {kNumber, kText, kObject}},
                             {"logprobs", flag},
                             {"top_logprobs", integer},
                             {"max_completion_tokens", integer},
                             {"tools", {kText, kNumber, kListOfOne}},
                             {"tool_choice", {kNumber, kListOfOne}},
                             {"add_generation_prompt", flag},
                             {"continue_final_message", flag},
                             {"chat_template_kwargs", {kText, kNumber, kListOfOne}},
                             {"parallel_tool_calls", flag}});
  } else {
    rows.insert(rows.end(),
                {{"logprobs", integer}, {"echo", flag}, {"prompt", {kNumber, kObject, kWord}}});
  }
  return rows;
}

TEST(GenerationRequest, EveryFieldOfAWrongTypeIsNamed) {
  for (const bool chat : {false, true})
    for (const FieldRow& row : FieldsOf(chat))
      for (const Json& value : row.wrong)
        ExpectNamed(ParseWith(chat, row.name, value), row.name,
                    std::string(row.name) + " = " + WriteJson(value));
}

TEST(GenerationRequest, NullIsAsGoodAsAbsent) {
  for (const bool chat : {false, true}) {
    for (const FieldRow& row : FieldsOf(chat)) {
      const std::string name = row.name;
      const Status status = ParseWith(chat, name, nullptr);
      const bool required = name == "model" || name == "messages" || name == "prompt";
      EXPECT_EQ(status.ok(), !required) << name;
      if (required) {
        EXPECT_EQ(status.error().code, "missing_required_parameter") << name;
      }
    }
  }
}

TEST(GenerationRequest, OutOfRangeIsNamed) {
  const std::uint64_t huge = 1ULL << 63U;
  const std::string mebibyte(1 << 20, 'a');
  const std::vector<FieldRow> rows = {
      {"n", {0, -1, 129, 1000000, 1LL << 31U, huge}},
      {"max_tokens", {-1, huge, 1LL << 31U}},
      {"temperature", {-0.1, 1e308, 2.1}},
      {"top_p", {0, -1, 1.0001}},
      {"top_k", {-2, huge, 1LL << 31U}},
      {"min_p", {-0.1, 1.1}},
      {"repetition_penalty", {0, -1, 1e30}},
      {"presence_penalty", {2.01, -2.01}},
      {"frequency_penalty", {2.01, -2.01}},
      {"logit_bias",
       {Json{{"9999999", 1}}, Json{{"-1", 1}}, Json{{"abc", 1}}, Json{{"1e3", 1}}, Json{{"007", 1}},
        Json{{"5", 101}}, Json{{"5", -101}}, Json{{"512", 1}}, Json{{"", 1}}, Json{{"5", "x"}}}},
      {"stop_token_ids", {{-1}, {"a"}, {huge}, {9999999}, {1.5}}},
      {"allowed_token_ids", {kList, {9999999}, {-1}}},
      {"min_tokens", {-1}},
      {"seed", {huge, 1.5}},
      {"stop", {{1, 2}, "", {"a", "b", "c", "d", "e"}, {mebibyte}, {""}}},
      {"user", {mebibyte}},
      {"cache_salt", {"", std::string(4096, 's')}},
      {"priority", {huge, "high"}},
      {"best_of", {0, "x"}},
      {"bad_words", {{""}, {1}, {mebibyte}}},
      {"truncate_prompt_tokens", {0, -2}}};
  for (const bool chat : {false, true})
    for (const FieldRow& row : rows)
      for (const Json& value : row.wrong)
        ExpectNamed(ParseWith(chat, row.name, value), row.name,
                    std::string(row.name) + " = " + WriteJson(value).substr(0, 60));
}

TEST(GenerationRequest, CompletionRowsOfTheCatalogue) {
  const std::uint64_t huge = 1ULL << 63U;
  for (const Json& value :
       {kList, Json::array({kList}), Json::parse(R"([[1],["a"]])"), Json::parse(R"([1,"a"])"),
        Json::parse(R"({"a":1})"), Json::parse("[null]"), Json(5), Json(true),
        Json::parse("[99999999]"), Json::parse("[-1]"), Json::parse("[2147483648]"),
        Json::parse("[1.5]"), Json::array({huge}), Json::parse("[[5],[99999999]]"),
        Json(std::vector<std::string>(100'000, "a")), Json(std::vector<int>(257, 5))})
    ExpectNamed(ParseWith(false, "prompt", value), "prompt", WriteJson(value).substr(0, 60));
  for (const Json& value : {Json(-1), Json(1'000'000), Json(21)})
    ExpectNamed(ParseWith(false, "logprobs", value), "logprobs", WriteJson(value));
  for (const Json& value : {Json(-2), Json(1'000'000)})
    ExpectNamed(ParseWith(false, "prompt_logprobs", value), "prompt_logprobs", WriteJson(value));
  ExpectNamed(Parse(false, CompletionBody({{"n", 3}, {"best_of", 2}})), "best_of", "best_of < n");
  ExpectNamed(Parse(false, CompletionBody({{"best_of", 2}})), "best_of", "best_of > n");
  EXPECT_TRUE(Parse(false, CompletionBody({{"n", 2}, {"best_of", 2}})).ok());
  const auto too_long = ParseWith(false, "prompt", std::vector<int>(300, 5));
  EXPECT_EQ(too_long.error().code, "context_length_exceeded");
  EXPECT_EQ(ParseWith(false, "model", "none").error().code, "model_not_found");
  EXPECT_EQ(ParseWith(false, "model", "none").error().kind, ErrorKind::kNotFound);
  EXPECT_TRUE(ParseWith(false, "model", "alias/m").ok());
  ExpectNamed(ParseWith(false, "suffix", "x"), "suffix", "suffix");
  ExpectNamed(ParseWith(false, "max_tokens", 0), "max_tokens", "max_tokens 0");
  EXPECT_TRUE(Parse(false, CompletionBody({{"max_tokens", 0}, {"echo", true}})).ok());
  Json many = Json::object();
  for (int i = 0; i < 2000; ++i) many[std::to_string(i)] = 1;
  ExpectNamed(ParseWith(false, "logit_bias", many), "logit_bias", "2000 biases");
}

TEST(GenerationRequest, ChatRowsOfTheCatalogue) {
  const char* bad_messages[] = {
      R"([])",
      R"({})",
      R"("hi")",
      R"([1])",
      R"([{"content":"x"}])",
      R"([{"role":"user","content":5}])",
      R"([{"role":5,"content":"x"}])",
      R"([{"role":"wizard","content":"x"}])",
      R"([{"role":"user"}])",
      R"([{"role":"assistant"}])",
      R"([null])",
      R"([{"role":"","content":"x"}])",
      R"([{"role":"USER","content":"x"}])",
      R"([{"role":"user","content":[{"type":"image_url","image_url":{"url":"http://x/"}}]}])",
      R"([{"role":"user","content":[{"type":"hologram","hologram":1}]}])",
      R"([{"role":"user","content":[{"type":"text"}]}])",
      R"([{"role":"user","content":[5]}])",
      R"([{"role":"assistant","tool_calls":[{"id":1,"function":{"name":"f"}}]}])",
      R"([{"role":"assistant","tool_calls":[{"function":{}}]}])",
      R"([{"role":"tool","content":"x","tool_call_id":5}])"};
  for (const char* text : bad_messages)
    ExpectNamed(ParseWith(true, "messages", Json::parse(text)), "messages", text);
  Json many = Json::array();
  for (int i = 0; i < 100'000; ++i) many.push_back({{"role", "user"}, {"content", "a"}});
  ExpectNamed(ParseWith(true, "messages", many), "messages", "100,000 messages");
  for (const Json& value : {Json(-1), Json(1'000'000), Json(2)})
    ExpectNamed(ParseWith(true, "top_logprobs", value), "top_logprobs", WriteJson(value));
  ExpectNamed(Parse(true, ChatBody({{"stream_options", {{"include_usage", true}}}})),
              "stream_options", "without stream");
  ExpectNamed(
      Parse(true, ChatBody({{"stream", true}, {"stream_options", {{"include_usage", "x"}}}})),
      "stream_options", "include_usage x");
  for (const char* text : {R"({"type":"yaml"})", R"({"type":"json_schema"})", R"({})", R"("json")",
                           R"({"type":"json_schema","json_schema":{"name":"x","schema":5}})",
                           R"({"type":"json_object"})"})
    ExpectNamed(ParseWith(true, "response_format", Json::parse(text)), "response_format", text);
  EXPECT_TRUE(ParseWith(true, "response_format", Json::parse(R"({"type":"text"})")).ok());
  for (const char* text : {R"({"messages":[]})", R"({"tools":[]})", R"({"chat_template":"x"})"})
    ExpectNamed(ParseWith(true, "chat_template_kwargs", Json::parse(text)), "chat_template_kwargs",
                text);
  EXPECT_TRUE(ParseWith(true, "chat_template_kwargs", {{"enable_thinking", false}}).ok());
  ExpectNamed(ParseWith(true, "chat_template", "hi"), "chat_template", "chat_template");
  ExpectNamed(
      Parse(true, ChatBody({{"continue_final_message", true}, {"add_generation_prompt", true}})),
      "continue_final_message", "both");
  EXPECT_TRUE(ParseWith(true, "continue_final_message", true).ok());
  ExpectNamed(Parse(true, ChatBody({{"max_completion_tokens", 5}})), "max_completion_tokens",
              "two different bounds");
}

Json Tool(const std::string& name, Json parameters = Json{{"type", "object"}}) {
  return {{"type", "function"}, {"function", {{"name", name}, {"parameters", parameters}}}};
}

TEST(GenerationRequest, ToolsAreCheckedAndThenRefused) {
  auto parse = [](const Json& tools, const Json& choice) {
    return Parse(true, ChatBody({{"tools", tools}, {"tool_choice", choice}}));
  };
  const Json named = {{"type", "function"}, {"function", {{"name", "g"}}}};
  const Json one = Json::array({Tool("f")});
  ExpectNamed(parse(one, named), "tool_choice", "a missing tool");
  ExpectNamed(parse(Json::array({Tool("g")}), named), "tool_choice", "not built");
  ExpectNamed(parse(nullptr, "required"), "tool_choice", "without tools");
  ExpectNamed(parse(one, "maybe"), "tool_choice", "an unknown word");
  ExpectNamed(parse(one, nullptr), "tool_choice", "auto by default");
  EXPECT_NE(parse(one, "auto").error().message.find("--enable-auto-tool-choice"),
            std::string::npos);
  EXPECT_TRUE(parse(one, "none").ok());
  EXPECT_TRUE(parse(nullptr, "none").ok());
  Json many = Json::array();
  for (int i = 0; i < 129; ++i) many.push_back(Tool("f" + std::to_string(i)));
  ExpectNamed(parse(many, "none"), "tools", "129 tools");
  ExpectNamed(parse(Json::array({Tool("f"), Tool("f")}), "none"), "tools", "two of one name");
  ExpectNamed(parse(Json::array({Tool("a b")}), "none"), "tools", "a space");
  ExpectNamed(parse(Json::array({Tool("f", kListOfOne)}), "none"), "tools", "parameters");
}

TEST(GenerationRequest, StructureIsCheckedAndThenRefused) {
  for (const char* text : {R"({})", R"({"regex":"a","choice":["b"]})", R"({"choice":[]})",
                           R"({"regex":5})", R"({"regex":"a"})"})
    ExpectNamed(ParseWith(false, "structured_outputs", Json::parse(text)), "structured_outputs",
                text);
  const auto status = ParseWith(false, "structured_outputs", Json::parse(R"({"regex":"a"})"));
  EXPECT_NE(status.error().message.find("not supported"), std::string::npos);
}

TEST(GenerationRequest, ValuesArrive) {
  const Json body = CompletionBody({{"temperature", 0.5},
                                    {"top_k", -1},
                                    {"max_tokens", 4.0},
                                    {"seed", -7},
                                    {"stop", "end"},
                                    {"logit_bias", {{"0", 1.5}, {"511", -100}}},
                                    {"logprobs", 3},
                                    {"echo", true},
                                    {"prompt_logprobs", 1},
                                    {"n", 2}});
  auto request = ParseCompletion(body, test::TestOptions(), test::TestModel());
  ASSERT_TRUE(request.ok()) << request.error().message;
  const GenerationFields& fields = request->fields;
  EXPECT_FLOAT_EQ(fields.sampling.temperature, 0.5F);
  EXPECT_EQ(fields.sampling.top_k, 0);
  EXPECT_EQ(fields.max_tokens, 4);
  EXPECT_EQ(fields.seed, static_cast<std::uint64_t>(-7));
  EXPECT_EQ(fields.stop, std::vector<std::string>{"end"});
  EXPECT_EQ(fields.sampling.logit_bias.size(), 2U);
  EXPECT_EQ(fields.sampling.num_logprobs, 3);
  EXPECT_EQ(fields.sampling.num_prompt_logprobs, 3);
  EXPECT_EQ(fields.num_prompt_logprobs, 1);
  EXPECT_EQ(fields.n, 2);
  EXPECT_EQ(request->prompts[0].ids, (std::vector<TokenId>{5, 6, 7}));
}

TEST(GenerationRequest, TinyTemperaturesAreGreedyAndDefaultsAreTheModels) {
  auto request = ParseCompletion(CompletionBody({{"temperature", 1e-45}}), test::TestOptions(),
                                 test::TestModel());
  ASSERT_TRUE(request.ok());
  EXPECT_EQ(request->fields.sampling.temperature, 0.0F);
  ServedModel model = test::TestModel();
  model.defaults.top_p = 0.8F;
  model.defaults.top_k = 20;
  auto other =
      ParseCompletion(CompletionBody({{"temperature", nullptr}}), test::TestOptions(), model);
  ASSERT_TRUE(other.ok());
  EXPECT_FLOAT_EQ(other->fields.sampling.top_p, 0.8F);
  EXPECT_EQ(other->fields.sampling.top_k, 20);
  EXPECT_FLOAT_EQ(other->fields.sampling.temperature, 1.0F);
}

TEST(GenerationRequest, MessagesComeInTheTemplatesForm) {
  const Json body = ChatBody({{"messages", Json::parse(R"([
      {"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}],"x":1},
      {"role":"assistant","content":null,"tool_calls":[
        {"id":"1","type":"function","function":{"name":"f","arguments":"{\"k\":[1]}"}},
        {"id":"2","type":"function","function":{"name":"f","arguments":"{nope"}}]},
      {"role":"tool","tool_call_id":"1","content":"21"}])")}});
  auto request = ParseChat(body, test::TestOptions(), test::TestModel());
  ASSERT_TRUE(request.ok()) << request.error().message;
  const Json& messages = request->prompt.messages;
  EXPECT_EQ(WriteJson(messages[0]), R"({"role":"user","content":"a\nb"})");
  EXPECT_EQ(messages[1]["content"], "");
  EXPECT_EQ(WriteJson(messages[1]["tool_calls"][0]["function"]["arguments"]), R"({"k":[1]})");
  EXPECT_EQ(messages[1]["tool_calls"][1]["function"]["arguments"], "{nope");
  EXPECT_EQ(messages[2]["tool_call_id"], "1");
}

TEST(GenerationRequest, WideObjectsAndOtherBodiesAreRefused) {
  Json wide = CompletionBody();
  for (int i = 0; i < 2000; ++i) wide["k" + std::to_string(i)] = 1;
  EXPECT_EQ(Parse(false, wide).error().code, "too_many_fields");
  EXPECT_TRUE(ParseWith(false, "a_field_of_tomorrow", {{"x", 1}}).ok());
  for (const Json& body : {Json("str"), Json::array({1}), Json(42), Json(), Json(true)})
    EXPECT_EQ(Parse(false, body).error().code, "invalid_type");
}

}  // namespace
}  // namespace quire
