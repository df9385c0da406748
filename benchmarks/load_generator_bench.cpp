// The load generator alone, for load_generator_accuracy.py: sends short prompts with a tag each and
// writes what was measured of every tag.
//   load_generator_bench PORT REQUESTS RATE OUTPUT_LEN THREADS OUT.json
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "base/json.h"
#include "bench/load_generator.h"

int main(int argc, char** argv) {
  using quire::Json;
  if (argc != 7) {
    std::fprintf(stderr, "load_generator_bench: 6 arguments, see the head of its source\n");
    return 2;
  }
  quire::LoadRun run;
  run.target.base = {"127.0.0.1", std::atoi(argv[1]), ""};
  run.target.model = "stub";
  run.profile.request_rate = std::strtod(argv[3], nullptr);
  run.num_threads = std::atoi(argv[5]);
  quire::BenchWorkload workload;
  for (int i = 0; i < std::atoi(argv[2]); ++i) {
    quire::BenchTurn turn;
    turn.text = "tag" + std::to_string(i) + " w1 w2 w3";
    turn.output_tokens = std::atoi(argv[4]);
    workload.conversations.push_back({{turn}, {}, 0});
  }
  const auto outcome = quire::RunLoad(run, workload);
  if (!outcome) {
    std::fprintf(stderr, "load_generator_bench: %s\n", outcome.error().message.c_str());
    return 1;
  }
  Json requests = Json::array();
  for (const quire::RequestRecord& record : outcome->records) {
    requests.push_back({{"tag", "tag" + std::to_string(record.conversation)},
                        {"ttft_ms", record.ttft_s * 1000},
                        {"tpot_ms", record.tpot_s() * 1000},
                        {"e2el_ms", record.latency_s * 1000},
                        {"send_lag_ms", (record.sent_s - record.start_s) * 1000},
                        {"events", record.itl.size() + 1},
                        {"output_tokens", record.output_tokens},
                        {"input_tokens", record.input_tokens},
                        {"error", record.error}});
  }
  std::ofstream(argv[6]) << quire::WriteJson(
                                {{"duration_s", outcome->duration_s}, {"requests", requests}})
                         << "\n";
}
