// What the stub server says and when, and the truth that it writes of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/json.h"

namespace quire {

constexpr int kStubVocabSize = 32000;  // ids below it are the words w0, w1, …; others are met later

struct StubOptions {
  int port = 0;
  double ttft_ms = 50, tpot_ms = 10;
  double ttft_sigma = 0, tpot_sigma = 0;  // of the logarithm; the medians are the above
  std::uint64_t seed = 0;
  int tokens_per_event = 1;
  int max_tokens = 16;  // where a request does not say
  std::string model = "stub";
  std::string truth;
};

// Owns the words met so far. Text is words with the blanks in front of them; a first word is the
// same token with a blank in front and without.
class StubVocabulary {
 public:
  std::vector<int> Encode(std::string_view text);
  bool Decode(int id, std::string* text) const;  // appends; false: nothing is known of the id

 private:
  int IdOf(std::string_view piece, bool first);

  std::unordered_map<std::string, int> ids_;
  std::vector<std::string> words_;
};

// One answer and its schedule: event i is to be sent due_s[i] behind the request's arrival.
struct StubAnswer {
  std::string id;
  std::string tag;  // the prompt's first word, by which a client finds its request in the truth
  bool chat = false;
  bool stream = false;
  bool usage = false;
  int prompt_tokens = 0;
  int num_tokens = 0;
  double arrival_s = 0;
  std::vector<double> due_s;
  std::vector<float> late_s;  // by how much each event was sent late
  bool aborted = false;

  void Plan(const StubOptions& options);  // the schedule, by the tag and the options
  // Of a stream, in chunks.
  std::string EventBytes(const StubOptions& options, std::size_t event) const;
  Json Whole(const StubOptions& options) const;

 private:
  std::string Words(const StubOptions& options, std::size_t event) const;
  Json Usage() const;
};

// What a perfect client measures, and how late the server itself was.
Json StubTruth(const std::vector<std::unique_ptr<StubAnswer>>& answers);

}  // namespace quire
