// quire generate: continues a text on stdout.
#include <unistd.h>

#include <cstdio>
#include <iostream>
#include <iterator>
#include <memory>
#include <string>

#include "cli/commands.h"
#include "cli/text_flags.h"

namespace quire {
namespace {

struct Flags {
  EngineFlags engine;
  GenerateOptions sampling;
  std::string prompt;
};

int RunGenerate(Flags& flags) {
  if (flags.prompt == "-") {
    flags.prompt.assign(std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>());
  }
  const LlmResult llm = LoadLlm(flags.engine);
  if (!llm) {
    std::fprintf(stderr, "quire: %s\n", llm.error.c_str());
    return llm.exit_code;
  }
  std::fwrite(flags.prompt.data(), 1, flags.prompt.size(), stdout);
  flags.sampling.on_text = [](std::string_view piece) {
    std::fwrite(piece.data(), 1, piece.size(), stdout);
    return std::fflush(stdout) == 0;  // a closed pipe ends it
  };
  const Generation result = llm->Generate(flags.prompt, flags.sampling);
  std::fputc('\n', stdout);
  if (!result.error.empty()) {
    std::fprintf(stderr, "quire: %s\n", result.error.c_str());
    return 1;
  }
  if (::isatty(STDERR_FILENO) != 0) {
    const double decode = result.seconds - result.seconds_to_first_token;
    const auto tokens = static_cast<double>(result.token_ids.size());
    std::fprintf(stderr, "%zu tokens, first after %.0f ms, then %.1f tokens/s, finish: %s\n",
                 result.token_ids.size(), 1000 * result.seconds_to_first_token,
                 decode > 0 ? (tokens - 1) / decode : 0.0, result.finish_reason.c_str());
  }
  return 0;
}

}  // namespace

Command AddGenerateCommand(CLI::App& program) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = program.add_subcommand("generate", "Continue a text on stdout");
  command->add_option("-p,--prompt", flags->prompt, "The text to continue; - reads it from stdin")
      ->required()
      ->group("Text");
  AddSamplingFlags(*command, flags->sampling);
  AddEngineFlags(*command, flags->engine);
  return [flags] { return RunGenerate(*flags); };
}

}  // namespace quire
