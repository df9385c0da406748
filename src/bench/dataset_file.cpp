#include "bench/dataset_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <utility>

#include "bench/dataset_makers.h"

namespace quire {
namespace {

constexpr std::size_t kMaxFileBytes = std::size_t{4} << 30;

bool IsSpace(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

// Owns the place in the text while its top-level elements are cut out of it.
class ElementCutter {
 public:
  explicit ElementCutter(std::string_view text) : text_(text) {}

  // Nothing, or what is wrong at line().
  std::string_view Cut(std::vector<DatasetEntry>& elements) {
    SkipSpace();
    if (at_ == text_.size() || text_[at_] != '[') return "expected a JSON array, '[' first";
    Next();
    SkipSpace();
    if (at_ < text_.size() && text_[at_] == ']') {
      Next();
    } else {
      while (true) {
        SkipSpace();
        const std::size_t begin = at_;
        const int line = line_;
        if (!SkipElement()) return "the array does not end";
        elements.push_back({text_.substr(begin, at_ - begin), line});
        const bool more = text_[at_] == ',';
        Next();
        if (!more) break;
      }
    }
    SkipSpace();
    return at_ == text_.size() ? "" : "there is something behind the array";
  }

  int line() const { return line_; }

 private:
  void Next() { line_ += text_[at_++] == '\n' ? 1 : 0; }
  void SkipSpace() {
    while (at_ < text_.size() && IsSpace(text_[at_])) Next();
  }

  // To the ',' or ']' behind it; false at the end of the text.
  bool SkipElement() {
    std::size_t depth = 0;
    bool in_string = false;
    for (; at_ < text_.size(); Next()) {
      const char c = text_[at_];
      if (in_string) {
        if (c == '"') in_string = false;
        if (c == '\\' && at_ + 1 < text_.size()) Next();
        continue;
      }
      if (depth == 0 && (c == ',' || c == ']')) return true;
      if (c == '"') in_string = true;
      if (c == '{' || c == '[') ++depth;
      if ((c == '}' || c == ']') && depth > 0) --depth;
    }
    return false;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  int line_ = 1;
};

}  // namespace

Result<std::string> ReadDatasetFile(const std::string& path) {
  const auto fault = [&](std::string_view why) {
    return ConfigFault(fmt::format("--dataset-path {}: {}", path, why));
  };
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) return fault("this is a folder, not a file");
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file) return fault(errno != 0 ? std::strerror(errno) : "it cannot be opened");
  const auto size = std::filesystem::file_size(path, ignored);
  std::string text;
  if (!ignored && size <= kMaxFileBytes) text.reserve(static_cast<std::size_t>(size));
  std::vector<char> part(1 << 20);
  while (file.read(part.data(), static_cast<std::streamsize>(part.size())), file.gcount() > 0) {
    text.append(part.data(), static_cast<std::size_t>(file.gcount()));
    if (text.size() > kMaxFileBytes) return fault("it is larger than 4 GiB");
  }
  if (file.bad()) return fault("it cannot be read");
  if (text.compare(0, 3, "\xEF\xBB\xBF") == 0) text.erase(0, 3);
  return text;
}

std::vector<DatasetEntry> DatasetLines(std::string_view text) {
  std::vector<DatasetEntry> lines;
  for (int number = 1; !text.empty(); ++number) {
    const auto end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    while (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    if (!std::all_of(line.begin(), line.end(), IsSpace)) lines.push_back({line, number});
  }
  return lines;
}

Result<std::vector<DatasetEntry>> DatasetElements(const std::string& path, std::string_view text) {
  std::vector<DatasetEntry> elements;
  ElementCutter cutter(text);
  const std::string_view fault = cutter.Cut(elements);
  if (!fault.empty()) return DatasetFault(path, cutter.line(), fault);
  return elements;
}

Error DatasetFault(const std::string& path, int line, std::string_view message) {
  return ConfigFault(fmt::format("{} line {}: {}", path, line, message));
}

Result<Json> ParseDatasetEntry(const std::string& path, const DatasetEntry& entry) {
  auto json = ParseJson(entry.text);
  if (!json) return DatasetFault(path, entry.line, json.error().message);
  if (!json->is_object()) return DatasetFault(path, entry.line, "expected a JSON object");
  return json;
}

Result<std::optional<int>> DatasetCount(const std::string& path, int line, const Json& object,
                                        const char* field, int least) {
  const auto found = object.find(field);
  if (found == object.end() || found->is_null()) return std::optional<int>();
  double value = -1;  // of floats only whole ones count
  if (found->is_number()) value = found->get<double>();
  if (!(value >= least && value <= kMaxPromptTokens) || value != static_cast<int>(value)) {
    return DatasetFault(
        path, line,
        fmt::format("field {}: expected an integer of {} to {}", field, least, kMaxPromptTokens));
  }
  return std::optional<int>(static_cast<int>(value));
}

}  // namespace quire
