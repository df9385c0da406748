// quire: the command line.
#include <csignal>
#include <cstdio>
#include <exception>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cli/commands.h"

namespace quire {
namespace {

// Flags of one dash and several letters, as vLLM has them; the parser knows them by their long
// names.
const std::map<std::string, std::string>& ShortForms() {
  static const std::map<std::string, std::string> forms = {
      {"-tp", "--tensor-parallel-size"},
      {"-pp", "--pipeline-parallel-size"},
      {"-dp", "--data-parallel-size"},
  };
  return forms;
}

std::vector<std::string> Words(int argc, char** argv) {
  std::vector<std::string> words;
  for (int i = argc - 1; i > 0; --i) {  // CLI11 takes them last first
    const auto form = ShortForms().find(argv[i]);
    words.push_back(form == ShortForms().end() ? argv[i] : form->second);
  }
  return words;
}

int Run(int argc, char** argv) {
  CLI::App program{"Quire serves large language models: pages of KV cache, many GPUs in concert."};
  program.name("quire");
  program.set_version_flag("--version", "quire " QUIRE_VERSION);
  program.require_subcommand(1);
  program.get_formatter()->column_width(44);
  const std::pair<const char*, Command> commands[] = {
      {"serve", AddServeCommand(program)},       {"chat", AddChatCommand(program)},
      {"generate", AddGenerateCommand(program)}, {"bench", AddBenchCommand(program)},
      {"topo", AddTopoCommand(program)},         {"engine", AddEngineCommand(program)},
  };
  try {
    program.parse(Words(argc, argv));
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return program.exit(error);
    std::fprintf(stderr, "quire: %s\n", error.what());
    return 2;
  }
  for (const auto& [name, run] : commands) {
    if (program.got_subcommand(name)) return run();
  }
  return 2;
}

}  // namespace
}  // namespace quire

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);  // a reader that goes away is an error of the write
  try {
    return quire::Run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "quire: %s\n", error.what());
    return 1;
  }
}
