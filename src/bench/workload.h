// What a benchmark sends: conversations, made by a dataset (dataset.h) and sent by the load
// generator (load_generator.h).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"

namespace quire {

// One request of a run. Of text and token_ids one is set: how the prompt travels.
struct BenchTurn {
  std::string text;
  std::vector<TokenId> token_ids;
  int input_tokens = 0;   // of this turn's prompt alone, as the dataset counted it; 0: unknown
  int output_tokens = 0;  // max_tokens
};

// Turns of which each is sent when the answer to the one before is there, with all that came before
// it in front. Most datasets have one turn.
struct BenchConversation {
  std::vector<BenchTurn> turns;
  std::optional<double> arrival_s;  // a trace's own time from its start, already scaled
  double think_s = 0;               // between an answer and the next turn
};

struct BenchWorkload {
  std::vector<BenchConversation> conversations;

  int NumRequests() const {
    int n = 0;
    for (const BenchConversation& c : conversations) n += static_cast<int>(c.turns.size());
    return n;
  }
};

}  // namespace quire
