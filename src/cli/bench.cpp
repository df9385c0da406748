// quire bench: measures servers and compares what was measured.
#include <array>
#include <cstdio>
#include <utility>

#include "cli/bench_commands.h"

namespace quire {

Command AddBenchCommand(CLI::App& program) {
  CLI::App* bench = program.add_subcommand(
      "bench", "Measure OpenAI-compatible servers, and compare what was measured");
  bench->require_subcommand(0, 1);
  const std::pair<const char*, Command> commands[] = {
      {"serve", AddBenchServeCommand(*bench)},
      {"startup", AddBenchStartupCommand(*bench)},
      {"sweep", AddBenchSweepCommand(*bench)},
      {"compare", AddBenchCompareCommand(*bench)},
      {"throughput", AddBenchThroughputCommand(*bench)},
      {"latency", AddBenchLatencyCommand(*bench)},
  };
  return [bench, commands = std::to_array(commands)] {
    for (const auto& [name, run] : commands) {
      if (bench->got_subcommand(name)) return run();
    }
    std::fprintf(stderr,
                 "quire: bench needs one of serve, startup, sweep, compare, throughput, latency "
                 "(quire bench --help)\n");
    return 2;
  };
}

}  // namespace quire
