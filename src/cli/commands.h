// quire's subcommands: each adds its flags to the program and returns what runs it.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

namespace quire {

// The exit code: 0, or 1 anything else, 2 flags, 3 the model folder, 4 the device.
using Command = std::function<int()>;

Command AddServeCommand(CLI::App& program);
Command AddEngineCommand(CLI::App& program);  // hidden: the process that serve starts
Command AddGenerateCommand(CLI::App& program);
Command AddChatCommand(CLI::App& program);
Command AddBenchCommand(CLI::App& program);
Command AddTopoCommand(CLI::App& program);

}  // namespace quire
