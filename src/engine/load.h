// From a model's name to a running engine.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "base/result.h"
#include "engine/engine.h"
#include "runtime/local_executor.h"

namespace quire {

using EngineConfig = RuntimeConfig;

constexpr const char* kBuiltInModelName = "quire-demo";

// The folder of a model: the built-in one where the name is empty or kBuiltInModelName, a path, or
// org/name in the Hugging Face cache. kConfig error that says where it looked.
Result<std::filesystem::path> FindModel(const std::string& name);

// Loads the model of config.model_folder and starts the engine.
Result<std::unique_ptr<Engine>> LoadEngine(const EngineConfig& config,
                                           const LoadProgressHandler& progress,
                                           Engine::ReportHandler on_report);

}  // namespace quire
