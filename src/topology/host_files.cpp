#include "topology/host_files.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <fstream>

namespace quire {
namespace {

constexpr std::size_t kMaxFileBytes = std::size_t{4} << 20;
constexpr std::int64_t kMaxCpu = 65535;

}  // namespace

std::string ReadHostFile(const std::filesystem::path& file) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(file, error)) return "";
  std::ifstream in(file, std::ios::binary);
  std::string text;
  char chunk[4096];
  while (text.size() < kMaxFileBytes && (in.read(chunk, sizeof(chunk)), in.gcount() > 0))
    text.append(chunk, static_cast<std::size_t>(in.gcount()));
  return text;
}

std::string ReadHostLine(const std::filesystem::path& file) {
  const std::string text = ReadHostFile(file);
  return std::string(TrimBlanks(std::string_view(text).substr(0, text.find('\n'))));
}

std::string_view TrimBlanks(std::string_view text) {
  const char* blanks = " \t\r\n";
  const std::size_t begin = text.find_first_not_of(blanks);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(blanks) - begin + 1);
}

std::optional<std::int64_t> LeadingInteger(std::string_view text) {
  text = TrimBlanks(text);
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc()) return std::nullopt;
  return value;
}

std::int64_t KibibytesOf(std::string_view text, std::string_view key) {
  const std::size_t at = text.find(key);
  if (at == std::string_view::npos) return 0;
  const std::int64_t kibibytes = LeadingInteger(text.substr(at + key.size())).value_or(0);
  return std::clamp<std::int64_t>(kibibytes, 0, std::int64_t{1} << 50) * 1024;
}

std::vector<int> ParseCpuList(std::string_view list) {
  std::vector<int> cpus;
  list = TrimBlanks(list);
  while (!list.empty()) {
    const std::string_view range = list.substr(0, list.find(','));
    list.remove_prefix(std::min(list.size(), range.size() + 1));
    if (range.find_first_not_of("0123456789-") != range.npos) return {};
    const auto first = LeadingInteger(range);
    const std::size_t dash = range.find('-', 1);
    const auto last =
        dash == std::string_view::npos ? first : LeadingInteger(range.substr(dash + 1));
    if (!first || !last || *first < 0 || *last < *first || *last > kMaxCpu) return {};
    for (std::int64_t cpu = *first; cpu <= *last; ++cpu) cpus.push_back(static_cast<int>(cpu));
    if (cpus.size() > static_cast<std::size_t>(kMaxCpu) + 1) return {};
  }
  std::sort(cpus.begin(), cpus.end());
  cpus.erase(std::unique(cpus.begin(), cpus.end()), cpus.end());
  return cpus;
}

std::string FormatCpuList(const std::vector<int>& cpus) {
  std::string list;
  for (std::size_t i = 0; i < cpus.size();) {
    std::size_t last = i;
    while (last + 1 < cpus.size() && cpus[last + 1] == cpus[last] + 1) ++last;
    if (!list.empty()) list += ',';
    list += last == i ? fmt::format("{}", cpus[i]) : fmt::format("{}-{}", cpus[i], cpus[last]);
    i = last + 1;
  }
  return list;
}

}  // namespace quire
