// The flags that the engine has, wherever it runs: serve, engine, generate and chat share them.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "engine/load.h"

namespace quire {

struct EngineFlags {
  std::string model;  // a folder, org/name, or empty: the built-in model
  EngineConfig config;
  std::string load_format = "auto";
  std::string log_level = "info";
  std::int32_t tensor_parallel_size = 1;
  std::int32_t pipeline_parallel_size = 1;
  std::int32_t data_parallel_size = 1;
};

// Adds the flags in groups. The ranges that depend on nothing are checked while parsing (exit code
// 2).
void AddEngineFlags(CLI::App& app, EngineFlags& flags);

// What CLI11 cannot check by itself, and the model's folder: kConfig errors name the flag.
Status FinishEngineFlags(EngineFlags& flags);

// The same flags as words, for the engine process.
std::vector<std::string> EngineArguments(const EngineFlags& flags);

// A number as vLLM's flags take it: 4096, 1k = 1000, 1K = 1024, 25.6k, and M, G likewise.
CLI::Validator HumanNumber();

// CLI11's range check without its words in the help, which would crowd out what a flag is for; the
// bounds are in the error.
template <class T>
CLI::Validator Between(T low, T high) {
  return CLI::Range(low, high).description("");
}

// One line on stderr, and the exit code.
int Fail(const Error& error);

void ApplyLogLevel(const std::string& level, const std::string& prefix);

}  // namespace quire
