// What the flags of `quire bench` say beyond plain numbers, and the names and commands that are
// kept of them.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "bench/run_summary.h"
#include "net/http_message.h"

namespace quire {

// A rate in requests/s: more than 0 and at most 1e6, or "inf". The error names `flag`.
Result<double> ParseRate(std::string_view text, const std::string& flag);

// The words between commas.
std::vector<std::string> SplitList(std::string_view text);

// "99,99.9" as percentiles above 0 and up to 100.
Result<std::vector<double>> ParsePercentiles(std::string_view text, const std::string& flag);

// KEY=VALUE; the error names `flag` and no value.
Result<std::pair<std::string, std::string>> ParsePair(std::string_view text,
                                                      const std::string& flag);

// KEY=VALUE or "Name: value" as a header that can be sent.
Result<HttpHeader> ParseHeaderFlag(std::string_view text);

// A command line as a shell takes it, with *** for API keys and for the values of headers.
std::string CommandText(std::span<const std::string> words);

// vLLM's name of a result: openai-4.0qps-concurrency8-model-20261121-031500.json.
std::string ResultFileName(const RunSummary& run);

}  // namespace quire
