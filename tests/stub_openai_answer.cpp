#include "stub_openai_answer.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <random>
#include <system_error>

namespace quire {
namespace {

void AppendChunk(std::string* out, std::string_view data) {
  std::array<char, 16> size;
  const auto end = std::to_chars(size.data(), size.data() + size.size(), data.size() + 8, 16).ptr;
  out->append(size.data(), end).append("\r\ndata: ").append(data).append("\n\n\r\n");
}

double PercentileOf(std::vector<double> values, double percent) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const double rank = percent / 100 * static_cast<double>(values.size() - 1);
  const auto low = static_cast<std::size_t>(rank);
  const std::size_t high = std::min(low + 1, values.size() - 1);
  return values[low] + (values[high] - values[low]) * (rank - static_cast<double>(low));
}

Json SummaryOf(const std::vector<double>& values) {
  return {{"median", PercentileOf(values, 50)},
          {"p99", PercentileOf(values, 99)},
          {"max", PercentileOf(values, 100)}};
}

}  // namespace

std::vector<int> StubVocabulary::Encode(std::string_view text) {
  std::vector<int> ids;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t word = std::min(text.find_first_not_of(' ', at), text.size());
    const std::size_t end = std::min(text.find(' ', word), text.size());
    ids.push_back(IdOf(text.substr(at, end - at), at == 0));
    at = end;
  }
  return ids;
}

bool StubVocabulary::Decode(int id, std::string* text) const {
  if (id >= 0 && id < kStubVocabSize) {
    *text += " w" + std::to_string(id);
    return true;
  }
  const auto index = static_cast<std::size_t>(id) - kStubVocabSize;
  if (id < 0 || index >= words_.size()) return false;
  *text += words_[index];
  return true;
}

int StubVocabulary::IdOf(std::string_view piece, bool first) {
  std::string_view word = piece;
  if (!word.empty() && word.front() == ' ') word.remove_prefix(1);
  int number = -1;
  if ((first || piece.size() > word.size()) && word.size() > 1 && word.front() == 'w') {
    const auto [end, error] = std::from_chars(word.data() + 1, word.data() + word.size(), number);
    const bool plain = error == std::errc() && end == word.data() + word.size() &&
                       word == "w" + std::to_string(number);
    if (plain && number >= 0 && number < kStubVocabSize) return number;
  }
  const auto [entry, is_new] = ids_.try_emplace(std::string(piece), 0);
  if (is_new) {
    entry->second = kStubVocabSize + static_cast<int>(words_.size());
    words_.push_back(entry->first);
  }
  return entry->second;
}

void StubAnswer::Plan(const StubOptions& options) {
  // By the tag, so that the times of a request do not depend on the order in which they came.
  std::uint64_t hash = 14695981039346656037ULL ^ options.seed;
  for (const char c : tag) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
  std::mt19937_64 random(hash);
  const auto factor = [&](double sigma) {
    const double a = (static_cast<double>(random() >> 11) + 0.5) * 0x1p-53;
    const double b = (static_cast<double>(random() >> 11) + 0.5) * 0x1p-53;
    return std::exp(sigma * std::sqrt(-2 * std::log(a)) * std::cos(6.283185307179586 * b));
  };
  double at_s = options.ttft_ms / 1000 * factor(options.ttft_sigma);
  due_s.push_back(at_s);
  for (int token = options.tokens_per_event; token < num_tokens;
       token += options.tokens_per_event) {
    const int count = std::min(options.tokens_per_event, num_tokens - token);
    for (int i = 0; i < count; ++i) {
      at_s += options.tpot_ms / 1000 * factor(options.tpot_sigma);
    }
    due_s.push_back(at_s);
  }
}

std::string StubAnswer::Words(const StubOptions& options, std::size_t event) const {
  std::string text;
  const int from = static_cast<int>(event) * options.tokens_per_event;
  const int to = std::min(from + options.tokens_per_event, num_tokens);
  for (int i = from; i < to; ++i) text.append(" w").append(std::to_string(i % kStubVocabSize));
  return text;
}

// As vLLM writes them; a chat's role goes ahead of its first words, in the same moment.
std::string StubAnswer::EventBytes(const StubOptions& options, std::size_t event) const {
  const bool last = event + 1 == due_s.size();
  const std::string head = "{\"id\":\"" + id + "\",\"object\":\"" +
                           (chat ? "chat.completion.chunk" : "text_completion") +
                           "\",\"created\":1700000000,\"model\":\"" + options.model + "\",";
  const std::string tail =
      std::string(",\"logprobs\":null,\"finish_reason\":") + (last ? "\"length\"}]}" : "null}]}");
  const std::string words = Words(options, event);
  std::string out;
  if (chat && event == 0) {
    AppendChunk(&out, head +
                          "\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\","
                          "\"content\":\"\"},\"logprobs\":null,\"finish_reason\":null}]}");
  }
  AppendChunk(&out, chat ? head + "\"choices\":[{\"index\":0,\"delta\":{\"content\":\"" + words +
                               "\"}" + tail
                         : head + "\"choices\":[{\"index\":0,\"text\":\"" + words + "\"" + tail);
  if (!last) return out;
  if (usage) {
    AppendChunk(&out, head + "\"choices\":[],\"usage\":" + WriteJson(Usage()) + "}");
  }
  AppendChunk(&out, "[DONE]");
  return out + "0\r\n\r\n";
}

Json StubAnswer::Usage() const {
  return {{"prompt_tokens", prompt_tokens},
          {"total_tokens", prompt_tokens + num_tokens},
          {"completion_tokens", num_tokens}};
}

Json StubAnswer::Whole(const StubOptions& options) const {
  std::string text;
  for (std::size_t event = 0; event < due_s.size(); ++event) text += Words(options, event);
  Json choice = {{"index", 0}};
  if (chat) {
    choice["message"] = {{"role", "assistant"}, {"content", text}};
  } else {
    choice["text"] = text;
  }
  choice["finish_reason"] = "length";
  return {{"id", id},
          {"object", chat ? "chat.completion" : "text_completion"},
          {"created", 1700000000},
          {"model", options.model},
          {"choices", Json::array({choice})},
          {"usage", Usage()}};
}

Json StubTruth(const std::vector<std::unique_ptr<StubAnswer>>& answers) {
  Json requests = Json::array();
  std::int64_t tokens_in = 0, tokens_out = 0, num_aborted = 0;
  std::vector<double> itls, lates;
  for (const auto& answer : answers) {
    num_aborted += answer->aborted ? 1 : 0;
    if (answer->aborted) continue;
    tokens_in += answer->prompt_tokens;
    tokens_out += answer->num_tokens;
    const double first = answer->due_s.front() * 1000;
    const double last = answer->due_s.back() * 1000;
    for (std::size_t i = 1; i < answer->due_s.size(); ++i) {
      itls.push_back((answer->due_s[i] - answer->due_s[i - 1]) * 1000);
    }
    for (const float late : answer->late_s) lates.push_back(late * 1000.0);
    requests.push_back({{"tag", answer->tag},
                        {"prompt_tokens", answer->prompt_tokens},
                        {"completion_tokens", answer->num_tokens},
                        {"events", answer->due_s.size()},
                        {"arrival_s", answer->arrival_s},
                        {"ttft_ms", first},
                        {"tpot_ms", (last - first) / std::max(1, answer->num_tokens - 1)},
                        {"e2el_ms", last},
                        {"first_late_ms", answer->late_s.front() * 1000.0},
                        {"last_late_ms", answer->late_s.back() * 1000.0}});
  }
  const Json truth = {{"completed", requests.size()},
                      {"aborted", num_aborted},
                      {"total_input_tokens", tokens_in},
                      {"total_output_tokens", tokens_out},
                      {"itl_ms", SummaryOf(itls)},
                      {"late_ms", SummaryOf(lates)},
                      {"requests", requests}};
  return truth;
}

}  // namespace quire
