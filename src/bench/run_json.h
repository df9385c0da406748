// RunSummary and SweepResult as JSON files: vLLM's --save-result names, and what they lack under
// "quire".
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/result.h"
#include "bench/request_record.h"
#include "bench/run_summary.h"
#include "bench/sweep_result.h"

namespace quire {

// With `detailed` records: input_lens, output_lens, ttfts, itls, latencies, start_times,
// generated_texts, errors, one entry a request.
Json ToJson(const RunSummary& run, std::span<const RequestRecord> detailed = {});
Json ToJson(const SweepResult& sweep);

// Reads files of ours and of vLLM's `bench serve --save-result`. What those lack is derived from
// what they have, above all from the requests of --save-detailed. Errors name the file and the
// field.
Result<RunSummary> RunFromJson(const Json& json, const std::string& file);
Result<SweepResult> SweepFromJson(const Json& json, const std::string& file);
Result<Json> ReadJsonFile(const std::string& file);

// What a file of either kind holds. Of a sweep, `run` is the one at its best rate, or its first.
struct RunFile {
  RunSummary run;
  std::optional<SweepResult> sweep;
};
Result<RunFile> ReadRunFile(const std::string& file);

Status WriteTextFile(std::string_view text, const std::string& file);
Status WriteJsonFile(const Json& json, const std::string& file);

}  // namespace quire
