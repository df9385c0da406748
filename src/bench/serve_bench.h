// ServeBench: one server measured, once or at several rates: who it is, what it is sent, and what
// came of it.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "bench/dataset.h"
#include "bench/load_generator.h"
#include "bench/prompt_codec.h"
#include "bench/request_record.h"
#include "bench/run_summary.h"
#include "bench/server_facts.h"
#include "topology/gpu_energy.h"

namespace quire {

struct ServeBenchOptions {
  LoadTarget target;  // an empty model: the server's first
  DatasetOptions dataset;
  LoadProfile profile;
  RunConfig config;       // what flags say of it; times and counts are filled in
  RunSubject subject;     // what flags say; the rest is asked
  std::string tokenizer;  // a folder; empty: the model's where that is one, else the server's
  int num_warmups = 0;
  double ready_timeout_s = 0;
  int num_threads = 0;     // 0: RunLoad's choice
  bool host_facts = true;  // where the server is on this host: what the host is, and its energy
};

// A run while it goes on.
struct ServeBenchTick {
  const RunProgress& progress;
  int num_requests = 0;
  double expected_tokens = 0;  // if every answer is as long as asked
  double elapsed_s = 0;
};

// What the caller wants to hear meanwhile, always on its own thread.
struct ServeBenchHooks {
  std::function<void(const std::string& line)> say;
  std::function<void(const ServeBenchTick&)> tick;  // ten times a second
  std::function<void()> tick_end;                   // no more of them for now
  const std::atomic<bool>* stop = nullptr;
};

struct ServeRun {
  RunSummary summary;
  std::vector<RequestRecord> records;
  bool interrupted = false;
};

// Owns what the runs of one server share: what it said of itself, the tokenizer, the energy meter.
class ServeBench {
 public:
  // Waits for the server, chooses the model, and sends one request that must succeed, and the
  // warm-ups. kConfig errors name the flag.
  static Result<std::unique_ptr<ServeBench>> Connect(ServeBenchOptions options,
                                                     ServeBenchHooks hooks);

  // Makes `num_prompts` conversations with `seed` and sends them as `profile` wants it.
  Result<ServeRun> Run(const LoadProfile& profile, int num_prompts, std::uint64_t seed);

  const ServerFacts& facts() const { return facts_; }
  const std::string& model() const { return options_.target.model; }

 private:
  ServeBench(ServeBenchOptions options, ServeBenchHooks hooks);

  Status FindServer();
  void DescribeHost();
  Status FindCodec();
  Status CheckFirst(const BenchWorkload& workload) const;  // a frequent mistake, said plainly
  Status WarmUp();
  Result<BenchWorkload> Workload(int num_prompts, std::uint64_t seed);
  Result<LoadOutcome> Load(const LoadProfile& profile, const BenchWorkload& workload, bool shown);
  void CheckLengths(const BenchWorkload& workload);
  void Say(const std::string& line) const;
  bool stopped() const { return hooks_.stop != nullptr && *hooks_.stop; }

  ServeBenchOptions options_;
  ServeBenchHooks hooks_;
  ServerModel server_model_;
  ServerFacts facts_;
  HostFacts host_;
  std::unique_ptr<PromptCodec> codec_;  // null: none is needed, or there is none
  std::unique_ptr<GpuEnergyMeter> meter_;
  double idle_watts_ = 0;
  bool lengths_checked_ = false;
};

// Local time as vLLM writes it: 20261121-031500.
std::string DateWord();

}  // namespace quire
