#include "bench/flag_texts.h"

#include <fmt/core.h>

#include <charconv>
#include <cmath>
#include <limits>
#include <optional>

#include "bench/printable.h"
#include "net/http_lines.h"

namespace quire {
namespace {

constexpr double kHighestRate = 1e6;
constexpr std::string_view kHidden = "***";

std::optional<double> NumberOf(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value)) return {};
  return value;
}

std::string_view Trim(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

std::string Quoted(std::string_view word) {
  constexpr std::string_view kPlain = "_-+=./:,@%^";
  bool plain = !word.empty();
  for (const char c : word) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    plain = plain && (letter || kPlain.find(c) != std::string_view::npos);
  }
  if (plain) return std::string(word);
  std::string out = "'";
  for (const char c : word) out += c == '\'' ? "'\\''" : std::string(1, c);
  return out + "'";
}

// A header's name without its value.
std::string HeaderName(std::string_view text) {
  const std::size_t end = text.find_first_of("=:");
  if (end == std::string_view::npos) return std::string(kHidden);  // a value, astray
  return std::string(text.substr(0, end)) + "=" + std::string(kHidden);
}

// What may stand in a file's name of a model's.
std::string FileWord(std::string_view text) {
  while (!text.empty() && text.back() == '/') text.remove_suffix(1);
  const std::size_t slash = text.rfind('/');
  if (slash != std::string_view::npos) text.remove_prefix(slash + 1);
  std::string out;
  for (const char c : text.substr(0, 100)) {
    const bool fine = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                      c == '-' || c == '_' || c == '.';
    out.push_back(fine ? c : '_');
  }
  return out;
}

}  // namespace

Result<double> ParseRate(std::string_view text, const std::string& flag) {
  if (text == "inf") return std::numeric_limits<double>::infinity();
  const auto value = NumberOf(text);
  if (value && *value > 0 && *value <= kHighestRate) return *value;
  return ConfigFault(fmt::format("{}: '{}' is neither inf nor a rate above 0 and up to {:g}", flag,
                                 PrintableText(text, 40), kHighestRate));
}

std::vector<std::string> SplitList(std::string_view text) {
  std::vector<std::string> words;
  while (true) {
    const std::size_t comma = text.find(',');
    const std::string_view word = Trim(text.substr(0, comma));
    if (!word.empty()) words.emplace_back(word);
    if (comma == std::string_view::npos) return words;
    text.remove_prefix(comma + 1);
  }
}

Result<std::vector<double>> ParsePercentiles(std::string_view text, const std::string& flag) {
  std::vector<double> percentiles;
  for (const std::string& word : SplitList(text)) {
    const auto value = NumberOf(word);
    if (!value || !(*value > 0 && *value <= 100)) {
      return ConfigFault(fmt::format("{}: '{}' is no percentile above 0 and up to 100", flag,
                                     PrintableText(word, 40)));
    }
    percentiles.push_back(*value);
  }
  if (percentiles.empty()) return ConfigFault(flag + " names no percentile");
  return percentiles;
}

Result<std::pair<std::string, std::string>> ParsePair(std::string_view text,
                                                      const std::string& flag) {
  const std::size_t mark = text.find('=');
  if (mark == std::string_view::npos || mark == 0) return ConfigFault(flag + " takes KEY=VALUE");
  return std::pair<std::string, std::string>(text.substr(0, mark), text.substr(mark + 1));
}

Result<HttpHeader> ParseHeaderFlag(std::string_view text) {
  const std::size_t mark = text.find_first_of("=:");
  const std::string_view name = text.substr(0, mark);
  if (mark == std::string_view::npos || !IsHttpToken(name))
    return ConfigFault("--header takes NAME=VALUE with a header's name");
  const std::string_view value = Trim(text.substr(mark + 1));
  for (const char c : value) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte < 0x20 && c != '\t') || byte == 0x7F)
      return ConfigFault(fmt::format("--header {}: its value has a control character", name));
  }
  return HttpHeader{std::string(name), std::string(value)};
}

std::string CommandText(std::span<const std::string> words) {
  std::string out;
  bool header_values = false;  // a --header takes all words up to the next flag
  bool key = false;
  for (const std::string& word : words) {
    std::string shown = word;
    const bool is_flag = word.size() > 1 && word[0] == '-';
    const bool keys_flag = word == "--api-key";
    if (key) {
      shown = kHidden;
    } else if (word.rfind("--api-key=", 0) == 0) {
      shown = "--api-key=" + std::string(kHidden);
    } else if (word.rfind("--header=", 0) == 0) {
      shown = "--header=" + HeaderName(std::string_view(word).substr(9));
    } else if (header_values && !is_flag) {
      shown = HeaderName(word);
    }
    header_values = is_flag ? word.rfind("--header", 0) == 0 : header_values;
    key = !key && keys_flag;
    out += (out.empty() ? "" : " ") + (shown == kHidden ? shown : Quoted(shown));
  }
  return out;
}

std::string ResultFileName(const RunSummary& run) {
  const RunConfig& config = run.config;
  const std::string rate =
      std::isfinite(config.request_rate) ? fmt::format("{:g}", config.request_rate) : "inf";
  const std::string concurrency =
      config.max_concurrency ? fmt::format("-concurrency{}", *config.max_concurrency) : "";
  return fmt::format("{}-{}qps{}-{}-{}.json", FileWord(config.endpoint_type), rate, concurrency,
                     FileWord(run.subject.model), config.date);
}

}  // namespace quire
