// The sampling flags that generate and chat share.
#pragma once

#include <CLI/CLI.hpp>

#include "cli/engine_options.h"
#include "quire/llm.h"

namespace quire {

void AddSamplingFlags(CLI::App& app, GenerateOptions& options);

// Loads the model in this process, with one line about it on stderr where that is a terminal.
LlmResult LoadLlm(EngineFlags& flags);

}  // namespace quire
