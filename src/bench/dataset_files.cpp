// The datasets whose text is in a file: sharegpt, custom, sonnet, multi_turn from a file.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/utf8.h"
#include "bench/dataset_chat.h"
#include "bench/dataset_file.h"
#include "bench/dataset_makers.h"
#include "bench/dataset_rng.h"

namespace quire {
namespace {

constexpr int kDefaultOutputLen = 256;  // vLLM's --custom-output-len

// vLLM's bounds on ShareGPT's lengths.
constexpr int kShareGptMinLen = 4;
constexpr int kShareGptMaxInput = 1024;
constexpr int kShareGptMaxTotal = 2048;

Result<int> CountTokens(PromptCodec& codec, std::string_view text) {
  auto ids = codec.Encode(text);
  if (!ids) return ids.error();
  return static_cast<int>(ids->size());
}

// A turn of this text; with a codec its tokens are counted, or are what it sends.
Result<BenchTurn> TextTurn(std::string text, int output_tokens, bool token_ids,
                           PromptCodec* codec) {
  BenchTurn turn;
  turn.output_tokens = output_tokens;
  if (codec != nullptr) {
    auto ids = codec->Encode(text);
    if (!ids) return ids.error();
    turn.input_tokens = static_cast<int>(ids->size());
    if (token_ids) turn.token_ids = std::move(*ids);
  }
  if (!token_ids) turn.text = std::move(text);
  return turn;
}

bool IsFull(const BenchWorkload& workload, int num_prompts) {
  return num_prompts > 0 && static_cast<int>(workload.conversations.size()) >= num_prompts;
}

// Repeats some at random until there are as many as asked for.
Result<BenchWorkload> FillUp(BenchWorkload workload, const DatasetOptions& options,
                             DatasetRng& rng) {
  const std::size_t size = workload.conversations.size();
  if (size == 0) {
    return ConfigFault(fmt::format("{}: no entry of it can be used", options.path));
  }
  while (static_cast<int>(workload.conversations.size()) < options.num_prompts) {
    BenchConversation again = workload.conversations[rng.Below(size)];
    workload.conversations.push_back(std::move(again));
  }
  return workload;
}

// Entries of a JSON array or of JSON lines, in random order.
Result<std::vector<DatasetEntry>> ShuffledEntries(const std::string& path, std::string_view text,
                                                  DatasetRng& rng) {
  const auto first = text.find_first_not_of(" \t\r\n");
  const bool is_array = first != std::string_view::npos && text[first] == '[';
  if (first == std::string_view::npos) return DatasetFault(path, 1, "the file is empty");
  auto entries = is_array ? DatasetElements(path, text) : DatasetLines(text);
  if (entries.ok()) rng.Shuffle(*entries);
  return entries;
}

// ---- sharegpt

// The first two turns of an entry, as vLLM takes them; none where it is left out.
Status AddShareGptEntry(const DatasetOptions& options, PromptCodec& codec,
                        const DatasetEntry& entry, BenchWorkload& workload) {
  const auto json = ParseDatasetEntry(options.path, entry);
  if (!json) return json.error();
  auto messages = ReadDatasetMessages(options.path, entry.line, *json);
  if (!messages) return messages.error();
  if (messages->size() < 2) return {};
  int output_len = options.output_len;
  auto turn = TextTurn(std::move((*messages)[0].text), output_len, options.token_ids, &codec);
  if (!turn) return turn.error();
  if (turn->input_tokens < kShareGptMinLen || turn->input_tokens > kShareGptMaxInput) return {};
  if (output_len == 0) {
    const auto count = CountTokens(codec, (*messages)[1].text);
    if (!count) return count.error();
    output_len = *count;
    if (output_len < kShareGptMinLen) return {};
  }
  if (turn->input_tokens + output_len > kShareGptMaxTotal) return {};
  turn->output_tokens = output_len;
  workload.conversations.emplace_back().turns.push_back(std::move(*turn));
  return {};
}

// ---- custom

struct CustomEntry {
  std::vector<std::string> prompts;  // one a turn
  int output_len = 0;
};

// A text for each of the user's messages; what the system says stands before the next one. Answers
// of the file are not sent: the server gives its own.
std::vector<std::string> UserTexts(std::vector<DatasetMessage> messages) {
  std::vector<std::string> texts;
  std::string system;
  for (DatasetMessage& message : messages) {
    if (message.from == DatasetMessage::From::kSystem) system += message.text + "\n\n";
    if (message.from != DatasetMessage::From::kUser) continue;
    texts.push_back(std::exchange(system, "") + message.text);
  }
  return texts;
}

// {"prompt": …}, {"turns": [texts]} as of MT-bench, or {"messages": […]}.
Result<std::vector<std::string>> ReadCustomPrompts(const std::string& path, int line,
                                                   const Json& json) {
  if (const auto prompt = json.find("prompt"); prompt != json.end()) {
    if (!prompt->is_string()) return DatasetFault(path, line, "field prompt: expected a string");
    return std::vector<std::string>{prompt->get<std::string>()};
  }
  if (const auto turns = json.find("turns"); turns != json.end()) {
    const bool strings =
        turns->is_array() &&
        std::all_of(turns->begin(), turns->end(), [](const Json& t) { return t.is_string(); });
    if (!strings) return DatasetFault(path, line, "field turns: expected a list of strings");
    return turns->get<std::vector<std::string>>();
  }
  if (!json.contains("messages")) {
    return DatasetFault(path, line, "field prompt: it is missing (turns and messages too)");
  }
  auto messages = ReadDatasetMessages(path, line, json);
  if (!messages) return messages.error();
  return UserTexts(std::move(*messages));
}

Result<CustomEntry> ReadCustomEntry(const DatasetOptions& options, const DatasetEntry& entry) {
  const auto json = ParseDatasetEntry(options.path, entry);
  if (!json) return json.error();
  auto prompts = ReadCustomPrompts(options.path, entry.line, *json);
  if (!prompts) return prompts.error();
  const bool some_empty = std::any_of(prompts->begin(), prompts->end(),
                                      [](const std::string& text) { return text.empty(); });
  if (prompts->empty() || some_empty) {
    return DatasetFault(options.path, entry.line, "field prompt: it is empty");
  }
  CustomEntry read{std::move(*prompts), options.output_len};
  for (const char* field : {"output_tokens", "output_len"}) {
    const auto count = DatasetCount(options.path, entry.line, *json, field, 1);
    if (!count) return count.error();
    if (read.output_len == 0) read.output_len = count->value_or(0);
  }
  if (read.output_len == 0) read.output_len = kDefaultOutputLen;
  return read;
}

// ---- multi_turn

// All turns of an entry: the user's texts, each with the length of the answer that the file has.
Status AddFileTurns(const DatasetOptions& options, PromptCodec* codec, const DatasetEntry& entry,
                    BenchWorkload& workload) {
  const auto json = ParseDatasetEntry(options.path, entry);
  if (!json) return json.error();
  auto messages = ReadDatasetMessages(options.path, entry.line, *json);
  if (!messages) return messages.error();
  BenchConversation conversation;
  conversation.think_s = options.think_s;
  std::string system;
  bool answered = true;
  for (DatasetMessage& message : *messages) {
    if (message.from == DatasetMessage::From::kSystem) {
      system += message.text + "\n\n";
    } else if (message.from == DatasetMessage::From::kUser) {
      std::string text = std::exchange(system, "") + message.text;
      if (text.empty()) continue;
      const int output_len = options.output_len > 0 ? options.output_len : kDefaultOutputLen;
      auto turn = TextTurn(std::move(text), output_len, options.token_ids, codec);
      if (!turn) return turn.error();
      conversation.turns.push_back(std::move(*turn));
      answered = false;
    } else if (!answered && options.output_len == 0) {
      const auto count = CountTokens(*codec, message.text);
      if (!count) return count.error();
      if (*count > 0) conversation.turns.back().output_tokens = std::min(*count, kMaxPromptTokens);
      answered = true;
    }
  }
  if (!conversation.turns.empty()) workload.conversations.push_back(std::move(conversation));
  return {};
}

// ---- sonnet

constexpr std::string_view kSonnetTask = "Pick as many lines as you can from these poem lines:\n";

// Lines with their ends.
std::vector<std::string> SonnetLines(const std::string& text) {
  std::vector<std::string> lines;
  for (const DatasetEntry& line : DatasetLines(text)) {
    lines.push_back(ToValidUtf8(line.text) + "\n");
  }
  return lines;
}

}  // namespace

Result<BenchWorkload> MakeShareGpt(const DatasetOptions& options, PromptCodec& codec) {
  const auto text = ReadDatasetFile(options.path);
  if (!text) return text.error();
  DatasetRng rng(options.seed);
  const auto entries = ShuffledEntries(options.path, *text, rng);
  if (!entries) return entries.error();
  BenchWorkload workload;
  for (const DatasetEntry& entry : *entries) {
    if (IsFull(workload, options.num_prompts)) break;
    QUIRE_RETURN_IF_ERROR(AddShareGptEntry(options, codec, entry, workload));
  }
  return FillUp(std::move(workload), options, rng);
}

Result<BenchWorkload> MakeCustom(const DatasetOptions& options, PromptCodec* codec) {
  const auto text = ReadDatasetFile(options.path);
  if (!text) return text.error();
  DatasetRng rng(options.seed);
  const auto entries = ShuffledEntries(options.path, *text, rng);
  if (!entries) return entries.error();
  BenchWorkload workload;
  for (const DatasetEntry& entry : *entries) {
    if (IsFull(workload, options.num_prompts)) break;
    auto read = ReadCustomEntry(options, entry);
    if (!read) return read.error();
    BenchConversation& conversation = workload.conversations.emplace_back();
    for (std::string& prompt : read->prompts) {
      auto turn = TextTurn(std::move(prompt), read->output_len, options.token_ids, codec);
      if (!turn) return turn.error();
      conversation.turns.push_back(std::move(*turn));
    }
  }
  return FillUp(std::move(workload), options, rng);
}

Result<BenchWorkload> MakeFileTurns(const DatasetOptions& options, PromptCodec* codec) {
  if (codec == nullptr && options.output_len == 0) {
    return ConfigFault(
        "--dataset-name multi_turn takes the lengths of the answers from the file and counts their "
        "tokens: give --tokenizer FOLDER, as the server has no /tokenize, or an output length");
  }
  const auto text = ReadDatasetFile(options.path);
  if (!text) return text.error();
  DatasetRng rng(options.seed);
  const auto entries = ShuffledEntries(options.path, *text, rng);
  if (!entries) return entries.error();
  BenchWorkload workload;
  for (const DatasetEntry& entry : *entries) {
    if (IsFull(workload, options.num_prompts)) break;
    QUIRE_RETURN_IF_ERROR(AddFileTurns(options, codec, entry, workload));
  }
  return FillUp(std::move(workload), options, rng);
}

// As vLLM's, but that no chat template is put around it: a task, the same first lines, and random
// ones, drawn again while they are longer than the input length.
Result<BenchWorkload> MakeSonnet(const DatasetOptions& options, PromptCodec& codec) {
  constexpr int kMaxDraws = 100;
  const auto text = ReadDatasetFile(options.path);
  if (!text) return text.error();
  const std::vector<std::string> lines = SonnetLines(*text);
  if (lines.empty()) return DatasetFault(options.path, 1, "the file is empty");
  const auto task_len = CountTokens(codec, kSonnetTask);
  if (!task_len) return task_len.error();
  if (options.sonnet_input_len <= *task_len) {
    return ConfigFault(fmt::format("--sonnet-input-len: {} is not more than the {} of the task",
                                   options.sonnet_input_len, *task_len));
  }
  const auto poem_len = CountTokens(codec, fmt::format("{}", fmt::join(lines, "")));
  if (!poem_len) return poem_len.error();
  const double line_len = std::max(1.0, *poem_len / static_cast<double>(lines.size()));
  const auto num_lines = [&](int tokens) {
    return static_cast<std::size_t>(std::max(0.0, std::round((tokens - *task_len) / line_len)));
  };
  const std::size_t num_prefix = std::min(num_lines(options.sonnet_prefix_len), lines.size());
  std::string prefix(kSonnetTask);
  for (std::size_t i = 0; i < num_prefix; ++i) prefix += lines[i];
  DatasetRng rng(options.seed);
  BenchWorkload workload;
  for (int draws = 0; !IsFull(workload, options.num_prompts); ++draws) {
    if (draws == kMaxDraws) {
      return ConfigFault(fmt::format("--sonnet-input-len: {} is not reached by lines of {} tokens",
                                     options.sonnet_input_len, line_len));
    }
    std::string prompt = prefix;
    for (std::size_t i = num_prefix; i < num_lines(options.sonnet_input_len); ++i) {
      prompt += lines[rng.Below(lines.size())];
    }
    auto turn = TextTurn(std::move(prompt), options.sonnet_output_len, options.token_ids, &codec);
    if (!turn) return turn.error();
    if (turn->input_tokens > options.sonnet_input_len) continue;
    workload.conversations.emplace_back().turns.push_back(std::move(*turn));
    draws = -1;
  }
  return workload;
}

}  // namespace quire
