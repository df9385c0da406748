// Recorded traffic: the Azure and Mooncake traces, with their times.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "bench/dataset_file.h"
#include "bench/dataset_makers.h"
#include "bench/dataset_rng.h"
#include "bench/synthetic_prompts.h"

namespace quire {
namespace {

constexpr int kHashBlockTokens = 512;  // what a hash id of the Mooncake traces stands for

struct TraceRow {
  double time_s = 0;
  int input_len = 0;
  int output_len = 0;
  std::vector<std::uint64_t> hash_ids;
};

// The rows that are asked for, by time, the first at 0.
std::vector<TraceRow> ChooseRows(std::vector<TraceRow> rows, const DatasetOptions& options) {
  std::stable_sort(rows.begin(), rows.end(),
                   [](const TraceRow& a, const TraceRow& b) { return a.time_s < b.time_s; });
  std::vector<TraceRow> chosen;
  for (TraceRow& row : rows) {
    if (options.max_input_len > 0 && row.input_len > options.max_input_len) continue;
    chosen.push_back(std::move(row));
    if (static_cast<int>(chosen.size()) == options.num_prompts) break;
  }
  const double start_s = chosen.empty() ? 0 : chosen.front().time_s;
  for (TraceRow& row : chosen) row.time_s = (row.time_s - start_s) / options.trace_speed;
  return chosen;
}

// `draw` makes a row's ids.
template <class DrawIds>
Result<BenchWorkload> Replay(std::vector<TraceRow> rows, const DatasetOptions& options,
                             SyntheticPrompts& prompts, const DrawIds& draw) {
  rows = ChooseRows(std::move(rows), options);
  if (rows.empty()) {
    return ConfigFault(fmt::format("{}: no request is left of it (--max-input-len {})",
                                   options.path, options.max_input_len));
  }
  DatasetRng rng(options.seed, 1);
  BenchWorkload workload;
  for (const TraceRow& row : rows) {
    auto turn = prompts.Turn(draw(row), row.output_len, rng);
    if (!turn) return turn.error();
    BenchConversation& conversation = workload.conversations.emplace_back();
    conversation.arrival_s = row.time_s;
    conversation.turns.push_back(std::move(*turn));
  }
  return workload;
}

// ---- Azure

std::vector<std::string_view> SplitCommas(std::string_view line) {
  std::vector<std::string_view> cells;
  for (std::size_t end; (end = line.find(',')) != std::string_view::npos;) {
    cells.push_back(line.substr(0, end));
    line.remove_prefix(end + 1);
  }
  cells.push_back(line);
  return cells;
}

// Digits only.
std::optional<int> ParseDigits(std::string_view text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || text.front() == '-' || error != std::errc() ||
      end != text.data() + text.size()) {
    return std::nullopt;
  }
  return value;
}

std::int64_t DaysSinceEpoch(int year, int month, int day) {  // proleptic Gregorian
  const std::int64_t y = year - (month <= 2 ? 1 : 0);
  const std::int64_t era = y / 400;  // years are not negative
  const std::int64_t year_of_era = y - era * 400;
  const std::int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
  return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year -
         719468;
}

// "2023-11-16 18:15:46.6805900", with a T instead of the space and a zone behind it too. The zone
// is not looked at: times of one file are all of one.
std::optional<double> ParseTimestamp(std::string_view text) {
  if (text.size() < 19 || text[4] != '-' || text[7] != '-' ||
      (text[10] != ' ' && text[10] != 'T') || text[13] != ':' || text[16] != ':') {
    return std::nullopt;
  }
  constexpr std::pair<std::size_t, std::size_t> kFields[] = {{0, 4},  {5, 2},  {8, 2},
                                                             {11, 2}, {14, 2}, {17, 2}};
  constexpr int kLeast[] = {1, 1, 1, 0, 0, 0};
  constexpr int kMost[] = {9999, 12, 31, 23, 59, 60};
  int values[6];
  for (std::size_t i = 0; i < 6; ++i) {
    const auto value = ParseDigits(text.substr(kFields[i].first, kFields[i].second));
    if (!value || *value < kLeast[i] || *value > kMost[i]) return std::nullopt;
    values[i] = *value;
  }
  text.remove_prefix(19);
  double fraction = 0;
  if (!text.empty() && text.front() == '.') {
    text.remove_prefix(1);
    for (double unit = 0.1; !text.empty() && text[0] >= '0' && text[0] <= '9'; unit /= 10) {
      fraction += unit * (text[0] - '0');
      text.remove_prefix(1);
    }
  }
  if (text.find_first_not_of("0123456789:+-Z ") != std::string_view::npos) return std::nullopt;
  const std::int64_t seconds = DaysSinceEpoch(values[0], values[1], values[2]) * 86400 +
                               values[3] * 3600 + values[4] * 60 + values[5];
  return static_cast<double>(seconds) + fraction;
}

// Which column of the file each field is.
Result<std::vector<std::size_t>> FindAzureColumns(const std::string& path,
                                                  const DatasetEntry& header) {
  const auto names = SplitCommas(header.text);
  std::vector<std::size_t> columns;
  for (const std::string_view field : {"TIMESTAMP", "ContextTokens", "GeneratedTokens"}) {
    const auto at = std::find(names.begin(), names.end(), field);
    if (at == names.end()) {
      return DatasetFault(path, header.line,
                          fmt::format("field {}: this column is missing", field));
    }
    columns.push_back(static_cast<std::size_t>(at - names.begin()));
  }
  return columns;
}

Result<TraceRow> ReadAzureRow(const std::string& path, const DatasetEntry& line,
                              const std::vector<std::size_t>& columns) {
  const auto cells = SplitCommas(line.text);
  if (cells.size() <= *std::max_element(columns.begin(), columns.end())) {
    return DatasetFault(path, line.line, fmt::format("only {} columns", cells.size()));
  }
  TraceRow row;
  const auto time_s = ParseTimestamp(cells[columns[0]]);
  if (!time_s) {
    return DatasetFault(path, line.line,
                        "field TIMESTAMP: expected a time such as 2023-11-16 18:15:46.68");
  }
  row.time_s = *time_s;
  const auto input_len = ParseDigits(cells[columns[1]]);
  const auto output_len = ParseDigits(cells[columns[2]]);
  for (const auto& [name, value] :
       {std::pair("ContextTokens", input_len), std::pair("GeneratedTokens", output_len)}) {
    if (value && *value <= kMaxPromptTokens) continue;
    return DatasetFault(
        path, line.line,
        fmt::format("field {}: expected an integer of 0 to {}", name, kMaxPromptTokens));
  }
  row.input_len = std::max(*input_len, 1);  // a server refuses less
  row.output_len = std::max(*output_len, 1);
  return row;
}

// ---- Mooncake

Result<TraceRow> ReadMooncakeRow(const std::string& path, const DatasetEntry& line) {
  const auto json = ParseDatasetEntry(path, line);
  if (!json) return json.error();
  TraceRow row;
  const auto time = json->find("timestamp");
  if (time == json->end() || !time->is_number() || !(std::abs(time->get<double>()) < 1e15)) {
    return DatasetFault(path, line.line, "field timestamp: expected a number of milliseconds");
  }
  row.time_s = time->get<double>() / 1000;
  for (const auto& [field, into] :
       {std::pair("input_length", &row.input_len), std::pair("output_length", &row.output_len)}) {
    const auto value = DatasetCount(path, line.line, *json, field, 0);
    if (!value) return value.error();
    if (!value->has_value()) {
      return DatasetFault(path, line.line, fmt::format("field {}: it is missing", field));
    }
    *into = std::max(**value, 1);
  }
  const auto hashes = json->find("hash_ids");
  const bool integers = hashes != json->end() && hashes->is_array() &&
                        std::all_of(hashes->begin(), hashes->end(),
                                    [](const Json& hash) { return hash.is_number_integer(); });
  if (!integers) return DatasetFault(path, line.line, "field hash_ids: expected integers");
  for (const Json& hash : *hashes) row.hash_ids.push_back(hash.get<std::uint64_t>());
  if (row.hash_ids.size() * kHashBlockTokens < static_cast<std::size_t>(row.input_len)) {
    return DatasetFault(path, line.line,
                        fmt::format("field hash_ids: {} blocks of {} tokens are fewer than "
                                    "input_length, {}",
                                    row.hash_ids.size(), kHashBlockTokens, row.input_len));
  }
  return row;
}

}  // namespace

Result<BenchWorkload> MakeAzureReplay(const DatasetOptions& options, PromptCodec& codec) {
  const auto text = ReadDatasetFile(options.path);
  if (!text) return text.error();
  const auto lines = DatasetLines(*text);
  if (lines.empty()) return DatasetFault(options.path, 1, "the file is empty");
  const auto columns = FindAzureColumns(options.path, lines.front());
  if (!columns) return columns.error();
  std::vector<TraceRow> rows;
  for (std::size_t i = 1; i < lines.size(); ++i) {
    auto row = ReadAzureRow(options.path, lines[i], *columns);
    if (!row) return row.error();
    rows.push_back(std::move(*row));
  }
  auto prompts = SyntheticPrompts::Make(codec, options.token_ids);
  if (!prompts) return prompts.error();
  DatasetRng rng(options.seed);
  return Replay(std::move(rows), options, *prompts,
                [&](const TraceRow& row) { return prompts->Draw(rng, row.input_len); });
}

Result<BenchWorkload> MakeMooncakeReplay(const DatasetOptions& options, PromptCodec& codec) {
  const auto text = ReadDatasetFile(options.path);
  if (!text) return text.error();
  std::vector<TraceRow> rows;
  for (const DatasetEntry& line : DatasetLines(*text)) {
    auto row = ReadMooncakeRow(options.path, line);
    if (!row) return row.error();
    rows.push_back(std::move(*row));
  }
  auto prompts = SyntheticPrompts::Make(codec, options.token_ids);
  if (!prompts) return prompts.error();
  return Replay(std::move(rows), options, *prompts, [&](const TraceRow& row) {
    std::vector<TokenId> ids;
    for (std::size_t block = 0; static_cast<int>(ids.size()) < row.input_len; ++block) {
      // A generator for each block: its text is a function of its id and the seed. A partial block
      // is the beginning of the whole one.
      DatasetRng rng(options.seed, 2 + row.hash_ids[block]);
      const int left = row.input_len - static_cast<int>(ids.size());
      const auto part = prompts->Draw(rng, std::min(left, kHashBlockTokens));
      ids.insert(ids.end(), part.begin(), part.end());
    }
    return ids;
  });
}

}  // namespace quire
