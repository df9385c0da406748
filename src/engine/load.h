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

// QUIRE_PROFILE_STEPS, QUIRE_PROFILE_FIRST and QUIRE_PROFILE_FILE, where no steps are asked for.
Status ProfileFromEnvironment(ProfileOptions& options);

// Loads the model of config.model_folder and starts the engine. What it is to profile may be left
// to the environment.
Result<std::unique_ptr<Engine>> LoadEngine(const EngineConfig& config,
                                           const LoadProgressHandler& progress,
                                           Engine::ReportHandler on_report);

}  // namespace quire
