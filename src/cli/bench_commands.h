// The subcommands of `quire bench`: each adds its flags and returns what runs it.
#pragma once

#include "cli/commands.h"

namespace quire {

Command AddBenchServeCommand(CLI::App& bench);
Command AddBenchStartupCommand(CLI::App& bench);
Command AddBenchSweepCommand(CLI::App& bench);
Command AddBenchCompareCommand(CLI::App& bench);
Command AddBenchThroughputCommand(CLI::App& bench);
Command AddBenchLatencyCommand(CLI::App& bench);

}  // namespace quire
