#include "text/chat_template.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <vector>

namespace quire {
namespace {

namespace fs = std::filesystem;

const fs::path kFolder = fs::path(QUIRE_SOURCE_DIR) / "tests/data/chat_templates";

std::string ReadFile(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path;
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::vector<Json> ReadLines(const fs::path& path) {
  std::vector<Json> rows;
  std::ifstream file(path);
  EXPECT_TRUE(file) << path;
  for (std::string line; std::getline(file, line);) rows.push_back(Json::parse(line));
  return rows;
}

// The goldens were made at 2024-07-26 12:34:56, local time.
std::chrono::system_clock::time_point GoldenTime() {
  std::tm then{};
  then.tm_year = 124;
  then.tm_mon = 6;
  then.tm_mday = 26;
  then.tm_hour = 12;
  then.tm_min = 34;
  then.tm_sec = 56;
  then.tm_isdst = -1;
  return std::chrono::system_clock::from_time_t(std::mktime(&then));
}

ChatInput InputOf(const Json& row) {
  ChatInput input;
  Json context = row.at("context");
  if (context.contains("messages")) input.messages = context["messages"];
  if (context.contains("tools")) input.tools = context["tools"];
  input.add_generation_prompt = context.value("add_generation_prompt", false);
  context.erase("messages");
  input.kwargs = context;
  if (row.contains("special"))
    for (const auto& [name, token] : row["special"].items()) input.special_tokens[name] = token;
  input.now = GoldenTime();
  return input;
}

std::shared_ptr<const ChatTemplate> MustParse(std::string_view source) {
  auto parsed = ChatTemplate::Parse(source);
  EXPECT_TRUE(parsed.ok()) << parsed.error().message;
  return parsed.ok() ? *parsed : nullptr;
}

Result<std::string> Render(std::string_view source, const Json& row) {
  auto parsed = ChatTemplate::Parse(source);
  if (!parsed.ok()) return parsed.error();
  return (*parsed)->Render(InputOf(row));
}

// Empty where the row is rendered, or refused, as jinja2 does it; else what is wrong.
std::string Check(std::string_view source, const Json& row) {
  const Result<std::string> result = Render(source, row);
  if (row.contains("output")) {
    if (!result.ok()) return "error: " + result.error().message;
    const std::string wanted = row["output"];
    return *result == wanted ? "" : "want " + wanted + "\n got " + *result;
  }
  if (result.ok()) return "no error: " + *result;
  const std::string words = row["error"].get<std::string>().substr(0, 120);
  if (result.error().message.size() > 256) return "the message is too long";
  if (result.error().message.find(words) != std::string::npos) return "";
  return "want " + words + "\n got " + result.error().message;
}

Json Chat(const std::string& text) {
  return Json{{"context", {{"messages", {{{"role", "user"}, {"content", text}}}}}}};
}

std::string ErrorOf(std::string_view source) {
  const Result<std::string> result = Render(source, Chat("x"));
  return result.ok() ? "" : result.error().message;
}

TEST(ChatTemplateTest, RendersTheTemplatesOfTheTree) {
  const std::vector<Json> rows = ReadLines(kFolder / "goldens.jsonl");
  EXPECT_GT(rows.size(), 40U);
  for (const Json& row : rows) {
    const std::string name = row["template"];
    EXPECT_EQ(Check(ReadFile(kFolder / (name + ".jinja")), row), "") << name << " " << row["name"];
  }
}

// Each line was rendered by jinja2 3.1 in Hugging Face's environment.
TEST(ChatTemplateTest, SpeaksTheLanguageAsJinja2) {
  const std::vector<Json> rows = ReadLines(kFolder / "language.jsonl");
  EXPECT_GT(rows.size(), 200U);
  for (std::size_t i = 1; i < rows.size(); ++i) {
    Json row = rows[i];
    row["context"] = rows[0]["context"];
    EXPECT_EQ(Check(row["source"].get<std::string>(), row), "") << row["source"];
  }
}

// The text of the template that the goldens call `name`; nothing where the data does not hold it.
std::optional<std::string> SharedTemplate(const fs::path& data, const std::string& name) {
  const std::size_t hash = std::min(name.find('#'), name.size());
  for (const fs::path& root : {data / "chat-templates", data}) {
    const fs::path path = root / name.substr(0, hash);
    if (!fs::exists(path)) continue;
    if (hash == name.size()) return ReadFile(path);
    return Json::parse(ReadFile(path))[name.substr(hash + 1)].get<std::string>();
  }
  return std::nullopt;
}

TEST(ChatTemplateTest, RendersAllSharedGoldens) {
  const char* data = std::getenv("DATA");
  if (data == nullptr) GTEST_SKIP() << "set DATA to the shared data's folder";
  int checked = 0;
  for (const Json& golden : ReadLines(fs::path(data) / "chat-templates/golden-jinja2_dev.jsonl")) {
    const std::string name = golden["template"];
    const auto source = SharedTemplate(data, name);
    if (!source) continue;
    Json row = golden;
    if (row.contains("error")) {  // "TypeError: words"
      const std::string error = row["error"];
      row["error"] = error.substr(error.find(": ") + 2);
    }
    EXPECT_EQ(Check(*source, row), "") << name << " " << row["context_name"];
    ++checked;
  }
  EXPECT_GT(checked, 490);
}

TEST(ChatTemplateTest, KnowsWhichTemplatesTakeParts) {
  const auto takes = [](std::string_view source) {
    return MustParse(source)->takes_content_parts();
  };
  EXPECT_TRUE(
      takes("{% for m in messages %}{% for part in m['content'] %}{% endfor %}{% endfor %}"));
  EXPECT_TRUE(
      takes("{% set all = messages[1:] %}{% for m in all %}{% set c = m.content %}"
            "{% for p in c | selectattr('type', 'equalto', 'text') %}{% endfor %}{% endfor %}"));
  EXPECT_TRUE(
      takes("{% macro show(c) %}{% for p in c %}{{ p }}{% endfor %}{% endmacro %}"
            "{% for m in messages %}{{ show(m.content) }}{% endfor %}"));
  EXPECT_FALSE(takes(
      "{% for m in messages %}{{ m.content }}{% for t in m.tools %}{% endfor %}{% endfor %}"));
  EXPECT_FALSE(
      takes("{% for m in messages %}{% for w in m.content.split() %}{% endfor %}{% endfor %}"));
  for (const char* name : {"chatml", "deepseek_r1_distill", "llama3", "mistral", "plain", "qwen2"})
    EXPECT_FALSE(takes(ReadFile(kFolder / (std::string(name) + ".jinja")))) << name;
}

TEST(ChatTemplateTest, SaysWhatIsWrongAndWhere) {
  const auto parse_error = [](std::string_view source) {
    const auto parsed = ChatTemplate::Parse(source);
    if (parsed.ok()) return std::string();
    EXPECT_EQ(parsed.error().kind, ErrorKind::kModel);
    return parsed.error().message;
  };
  EXPECT_EQ(parse_error("a\n{% if x %}\n{{ y"),
            "chat template, line 3: unexpected end of template");
  EXPECT_EQ(parse_error("\n{{ x | nosuch }}"), "chat template, line 2: No filter named 'nosuch'.");
  EXPECT_EQ(parse_error("{% do x %}"), "chat template, line 1: Encountered unknown tag 'do'.");
  EXPECT_EQ(parse_error("\xff"), "chat template, line 1: the template is not UTF-8");
  EXPECT_EQ(ErrorOf("\n\n{{ nosuch.x }}"), "chat template, line 3: 'nosuch' is undefined");
  EXPECT_EQ(ErrorOf("{% if true %}\n{{ 1 +\n'a' }}{% endif %}"),
            "chat template, line 2: unsupported operand type(s) for +: 'int' and 'str'");
}

TEST(ChatTemplateTest, RaisedWordsAreTheMessage) {
  const auto result = Render("{{ raise_exception('Only ' ~ messages|length) }}", Chat("x"));
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().message, "Only 1");
  EXPECT_EQ(result.error().kind, ErrorKind::kInvalidRequest);
  EXPECT_EQ(result.error().param, "messages");
  EXPECT_EQ(ErrorOf("{{ raise_exception('ü' * 1000) }}").size(), 256U);
  EXPECT_EQ(ErrorOf("{{ raise_exception('aa' ~ 'aü' * 1000) }}").size(),
            255U);  // no half character
}

TEST(ChatTemplateTest, KeepsContentOutOfErrors) {
  for (const char* source :
       {"{{ messages[0].content + 1 }}", "{{ messages[0][messages[0].content].x }}",
        "{{ messages[0].content|int + 'a' }}", "{{ {}[messages[0].content].y }}",
        "{{ [1].index(messages[0].content) }}", "{{ messages[0].content() }}",
        "{{ 1 | attr(messages[0].content) + 1 }}", "{{ dict(**{messages[0].content: 1}) + 1 }}"}) {
    const auto result = Render(source, Chat("secret"));
    ASSERT_FALSE(result.ok()) << source;
    EXPECT_EQ(result.error().message.find("secret"), std::string::npos) << result.error().message;
  }
}

TEST(ChatTemplateTest, SetsVariablesAsHuggingFace) {
  Json row = Chat("x");
  row["context"]["enable_thinking"] = true;
  row["context"]["add_generation_prompt"] = true;
  row["special"] = {{"bos_token", "<s>"}};
  EXPECT_EQ(
      *Render("{{ bos_token }}{{ tools }}{{ documents }}{{ enable_thinking }}"
              "{{ add_generation_prompt }}{{ eos_token is defined }}{{ strftime_now('%d %b %Y') }}",
              row),
      "<s>NoneNoneTrueTrueFalse26 Jul 2024");
}

TEST(ChatTemplateTest, CarriesAnyTextThroughUnchanged) {
  const std::string text = "{{ x }} {% raw %} <|im_end|> \xF0\x9D\x94\x98 \t\r\n\x01";
  EXPECT_EQ(*Render("{{ messages[0]['content'] }}", Chat(text)), text);
  EXPECT_EQ(*Render("{{ messages[0]['content'] }}", Chat("a\xffz")), "a\xEF\xBF\xBDz");
}

}  // namespace
}  // namespace quire
