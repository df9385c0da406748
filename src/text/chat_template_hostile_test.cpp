// Templates that want to do harm: each is refused soon, with a short message, and nothing breaks.
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/utf8.h"
#include "text/chat_template.h"

namespace quire {
namespace {

std::string Repeat(std::string_view text, std::size_t count) {
  std::string out;
  for (std::size_t i = 0; i < count; ++i) out += text;
  return out;
}

ChatInput Input() {
  ChatInput input;
  input.messages = Json::array({{{"role", "user"}, {"content", "Hi é"}},
                                {{"role", "assistant"}, {"content", "Hello"}},
                                {{"role", "user"}, {"content", "Bye"}}});
  return input;
}

Result<std::string> RenderSource(std::string_view source) {
  auto parsed = ChatTemplate::Parse(source);
  if (!parsed.ok()) return parsed.error();
  return (*parsed)->Render(Input());
}

void ExpectRefused(const std::string& source) {
  const std::string shown = source.substr(0, 100);
  const TimePoint start = Now();
  const Result<std::string> result = RenderSource(source);
  EXPECT_LT(Seconds(Now() - start), 2.0) << shown;
  ASSERT_FALSE(result.ok()) << shown;
  EXPECT_FALSE(result.error().message.empty()) << shown;
  EXPECT_LE(result.error().message.size(), 256U) << shown;
}

TEST(HostileTemplateTest, EndlessWorkIsRefused) {
  for (const char* source : {
           "{% for i in range(1000000000) %}{% endfor %}",
           "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
           "{{ 'x' * 10000000000 }}",
           "{{ 10000000000 * 'x' }}",
           "{{ [1] * 10000000000 }}",
           "{{ ('x' * 1000000) * 1000000 }}",
           "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
           "{% macro f(x) %}{{ g(x) }}{% endmacro %}{% macro g(x) %}{{ f(x) }}{% endmacro %}{{ "
           "f(1) }}",
           "{% macro f() %}{{ caller() }}{% endmacro %}{% macro g() %}{% call f() %}{{ g() }}"
           "{% endcall %}{% endmacro %}{{ g() }}",
           "{% for i in [1] recursive %}{{ loop([1]) }}{% endfor %}",
           "{{ ''.__class__.__mro__ }}{{ lipsum.__globals__ }}",
           "{{ ''.format.__globals__.x }}",
           "{{ '{0.__class__.__mro__}'.format(1) }}",
           "{{ '%1000000000d' % 1 }}",
           "{{ '{:1000000000}'.format(1) }}",
           "{{ 'x'.ljust(100000000000) }}",
           "{{ 'x'.zfill(9000000000000000000) }}",
           "{{ 'x' | center(100000000000) }}",
           "{{ 'x' | indent(1000000000) }}",
           "{{ [1] | tojson(indent=1000000000) }}",
           "{{ 9223372036854775807 + 1 }}",
           "{{ 99 ** 99 ** 9 }}",
           "{{ range(0, 9223372036854775807, 1) }}",
           "{{ range(9223372036854775807, -9223372036854775807, -1) }}",
           "{% set ns = namespace(s='xxxxxxxx') %}{% for i in range(100) %}{% set ns.s = ns.s + "
           "ns.s %}"
           "{% endfor %}",
           "{% set ns = namespace(s='xxxxxxxx') %}{% for i in range(100) %}"
           "{% set ns.s = ns.s | replace('x', 'xx') %}{% endfor %}",
           "{% set ns = namespace(l=[1]) %}{% for i in range(100) %}{% set ns.l = ns.l + ns.l %}{% "
           "endfor %}",
           "{% set s = 'x' * 10000000 %}{% for i in range(1000) %}{{ s }}{% endfor %}",
           "{% set s = 'x' * 1000000 %}{% for i in range(100000) %}{{ s.find('y') }}{% endfor %}",
           "{% set s = 'x' * 10000000 %}{{ s | list | length }}",
           "{% set s = 'ab' * 5000000 %}{{ s.split('b') | length }}",
           "{% set ns = namespace(x=[1]) %}{% for i in range(100000) %}{% set ns.x = [ns.x] %}{% "
           "endfor %}"
           "{{ ns.x }}",
           "{% set ns = namespace(x=[1]) %}{% for i in range(90) %}{% set ns.x = [ns.x, ns.x] %}"
           "{% endfor %}{{ ns.x }}",
           "{% set ns = namespace(x=[1]) %}{% for i in range(90) %}{% set ns.x = [ns.x, ns.x] %}"
           "{% endfor %}{{ ns.x | tojson }}",
           "{% set a = namespace(x=[1]) %}{% set b = namespace(x=[1]) %}{% for i in range(90) %}"
           "{% set a.x = [a.x, a.x] %}{% set b.x = [b.x, b.x] %}{% endfor %}{{ a.x == b.x }}",
           "{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}",
           "{% set ns = namespace() %}{% set ns.x = [ns] %}{{ ns.x | string }}",
           "{% set ns = namespace() %}{% for i in range(100000) %}{% set ns.x = {i: i, 'k': ns.x} "
           "%}"
           "{% endfor %}{{ ns.x }}",
           "{{ range(100000) | map('string') | list | unique | list | length }}",
           "{% for i in range(100000) %}{{ range(100000) }}{% endfor %}",
           "{{ strftime_now('%9999999999d' * 1000) }}",
           "{{ messages.append(1) }}",
           "{{ messages[0].update({}) }}",
       })
    ExpectRefused(source);
}

TEST(HostileTemplateTest, DeepNestingIsRefused) {
  for (const std::size_t depth : {200U, 3000U, 100000U}) {
    ExpectRefused("{{ " + Repeat("(", depth) + "1" + Repeat(")", depth) + " }}");
    ExpectRefused("{{ " + Repeat("[", depth) + "1" + Repeat("]", depth) + " }}");
    ExpectRefused("{{ " + Repeat("{1:", depth) + "1" + Repeat("}", depth) + " }}");
    ExpectRefused("{{ " + Repeat("(", depth));
    ExpectRefused("{{ " + Repeat("not ", depth) + "1 }}");
    ExpectRefused("{{ " + Repeat("- ", depth) + "1 }}");
    ExpectRefused("{{ x" + Repeat(".a", depth) + " }}");
    ExpectRefused("{{ x" + Repeat("[0]", depth) + " }}");
    ExpectRefused("{{ x" + Repeat("()", depth) + " }}");
    ExpectRefused("{{ x" + Repeat("|trim", depth) + " }}");
    ExpectRefused("{{ x" + Repeat(" is defined", depth) + " }}");
    ExpectRefused("{{ 1" + Repeat(" if 1 else 1", depth) + " }}");
    ExpectRefused("{{ 1" + Repeat(" if 1", depth) + " }}");
    ExpectRefused(Repeat("{% if 1 %}", depth) + Repeat("{% endif %}", depth));
    ExpectRefused(Repeat("{% for i in [1] %}", depth) + Repeat("{% endfor %}", depth));
    ExpectRefused(Repeat("{% macro f() %}", depth) + Repeat("{% endmacro %}", depth));
    ExpectRefused("{% set " + Repeat("(", depth) + "a" + Repeat(")", depth) + " = 1 %}");
    ExpectRefused("{% for " + Repeat("(", depth) + "a" + Repeat(")", depth) +
                  " in [1] %}{% endfor %}");
  }
  ExpectRefused(Repeat("x", std::size_t{2} << 20));
}

TEST(HostileTemplateTest, LongChainsAreFine) {
  const std::size_t length = 1000;
  EXPECT_EQ(*RenderSource("{{ 0" + Repeat(" + 1", length) + " }}"), "1000");
  EXPECT_EQ(RenderSource("{{ 'a'" + Repeat(" ~ 'a'", length) + " }}")->size(), length + 1);
  EXPECT_EQ(*RenderSource("{{ 1" + Repeat(" and 1", length) + " }}"), "1");
  EXPECT_EQ(*RenderSource("{% if 0 %}" + Repeat("{% elif 0 %}", length) + "{% else %}x{% endif %}"),
            "x");
  EXPECT_EQ(*RenderSource(
                "{% macro f(n) %}{% if n > 0 %}{{ f(n - 1) }}{% else %}x{% endif %}{% endmacro %}"
                "{{ f(90) }}"),
            "x");
}

TEST(HostileTemplateTest, DeepDocumentsAreRefused) {
  Json deep = 1;
  for (int i = 0; i < 300; ++i) deep = Json::array({deep});
  ChatInput input = Input();
  input.kwargs = Json{{"deep", deep}};
  EXPECT_FALSE((*ChatTemplate::Parse("{{ deep }}"))->Render(input).ok());
  EXPECT_TRUE((*ChatTemplate::Parse("{{ messages }}"))->Render(input).ok());  // never looked at
}

// The evaluator must fit into a thread's usual stack whatever the template.
TEST(HostileTemplateTest, OneTemplateServesManyThreads) {
  const auto parsed = ChatTemplate::Parse(
      "{% for m in messages %}{{ m.role ~ ': ' ~ m['content'] | trim }}{% if not loop.last %}, "
      "{% endif %}{% endfor %}");
  ASSERT_TRUE(parsed.ok());
  std::vector<std::thread> threads;
  std::vector<int> right(4, 0);
  for (std::size_t t = 0; t < right.size(); ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i) {
        const auto text = (*parsed)->Render(Input());
        right[t] += text.ok() && *text == "user: Hi é, assistant: Hello, user: Bye" ? 1 : 0;
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(right, std::vector<int>(4, 200));
}

// Random damage to real templates and to snippets of the language: any answer is fine, harm is not.
TEST(HostileTemplateTest, DamagedTemplatesDoNoHarm) {
  const std::filesystem::path folder =
      std::filesystem::path(QUIRE_SOURCE_DIR) / "tests/data/chat_templates";
  std::vector<std::string> seeds;
  for (const char* name : {"chatml", "deepseek_r1_distill", "llama3", "mistral", "qwen2"}) {
    std::ifstream file(folder / (std::string(name) + ".jinja"));
    seeds.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  std::ifstream language(folder / "language.jsonl");
  for (std::string line; std::getline(language, line);) {
    const Json row = Json::parse(line);
    if (row.contains("source")) seeds.push_back(row["source"].get<std::string>());
  }
  std::mt19937 random(7);
  const auto below = [&random](std::size_t n) { return n == 0 ? 0 : random() % n; };
  const std::vector<std::string> pieces = {"{%", "%}", "{{",  "}}", "(",    ")",   "[",  "]", "-",
                                           "|",  ".",  "not", "if", "for",  "end", "in", "~", "*",
                                           "%",  "'",  "\"",  "0",  "\xC3", "x",   ",",  "=", ":"};
  for (int round = 0; round < 10000; ++round) {
    std::string source = seeds[below(seeds.size())];
    for (std::size_t edits = 1 + below(4); edits > 0; --edits) {
      const std::size_t at = below(source.size() + 1);
      const std::string& other = seeds[below(seeds.size())];
      const std::size_t from = below(other.size());
      if (below(3) == 0) source.erase(at, below(8));
      if (below(2) == 0) source.insert(at, pieces[below(pieces.size())]);
      if (below(3) == 0) source.insert(at, other.substr(from, below(40)));
    }
    const Result<std::string> result = RenderSource(source);
    if (result.ok()) {
      EXPECT_TRUE(IsValidUtf8(*result)) << source;
    } else {
      EXPECT_LE(result.error().message.size(), 256U) << source;
      EXPECT_TRUE(IsValidUtf8(result.error().message)) << source;
    }
  }
}

}  // namespace
}  // namespace quire
