// quire chat: a conversation in the terminal, with history and line editing by libedit.
#include <histedit.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include "cli/commands.h"
#include "cli/text_flags.h"

namespace quire {
namespace {

struct Flags {
  EngineFlags engine;
  GenerateOptions sampling;
  std::string system;
};

volatile std::sig_atomic_t interrupted = 0;

std::filesystem::path HistoryFile() {
  if (const char* state = std::getenv("XDG_STATE_HOME"))
    return std::filesystem::path(state) / "quire" / "history";
  if (const char* home = std::getenv("HOME"))
    return std::filesystem::path(home) / ".local" / "state" / "quire" / "history";
  return {};
}

char* PromptText(EditLine*) {
  static char text[] = "> ";
  return text;
}

// Owns the line editor and its history; the history outlives the program in a file of the user's.
class Terminal {
 public:
  explicit Terminal(bool interactive)
      : file_(HistoryFile()),
        history_(history_init()),
        editor_(interactive ? el_init("quire", stdin, stdout, stderr) : nullptr) {
    HistEvent event;
    history(history_, &event, H_SETSIZE, 1000);
    history(history_, &event, H_SETUNIQUE, 1);
    if (editor_ == nullptr) return;
    el_set(editor_, EL_PROMPT, PromptText);
    el_set(editor_, EL_EDITOR, "emacs");
    el_set(editor_, EL_SIGNAL, 0);
    el_set(editor_, EL_HIST, history, history_);
    el_source(editor_, nullptr);
    if (!file_.empty()) history(history_, &event, H_LOAD, file_.c_str());
  }
  ~Terminal() {
    HistEvent event;
    if (editor_ != nullptr) {
      std::error_code ignored;
      if (!file_.empty() && std::filesystem::create_directories(file_.parent_path(), ignored);
          !ignored)
        history(history_, &event, H_SAVE, file_.c_str());
      el_end(editor_);
    }
    history_end(history_);
  }
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  // The next line without its end; nothing at the end of the input. An interrupt gives an empty
  // line.
  std::optional<std::string> ReadLine() {
    interrupted = 0;
    if (editor_ == nullptr) return ReadPlain();
    int count = 0;
    const char* line = el_gets(editor_, &count);
    if (line == nullptr || count <= 0) {
      if (interrupted == 0) return std::nullopt;
      std::fputs("\n", stdout);
      return "";
    }
    std::string text(line, static_cast<std::size_t>(count));
    while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
    HistEvent event;
    if (!text.empty()) history(history_, &event, H_ENTER, text.c_str());
    return text;
  }

 private:
  static std::optional<std::string> ReadPlain() {
    std::string text;
    int byte = 0;
    while ((byte = std::getchar()) != EOF && byte != '\n') text.push_back(static_cast<char>(byte));
    if (byte == EOF && text.empty()) return std::nullopt;
    return text;
  }

  const std::filesystem::path file_;
  History* history_;
  EditLine* editor_;
};

void Greet(const Llm& llm, bool built_in) {
  if (built_in) {
    std::puts(
        "This is the tiny built-in model: it continues children's stories, and is no more. Begin "
        "one.");
  } else if (!llm.has_chat_template()) {
    std::puts("This model has no chat template: it continues what you write.");
  }
  std::puts("/new begins anew, /exit or Ctrl-D ends, Ctrl-C stops an answer.");
}

// One question and its answer, which stays in the conversation.
bool Answer(Llm& llm, std::vector<ChatTurn>& turns, const std::string& line,
            const GenerateOptions& sampling) {
  turns.push_back({"user", line});
  Generation result;
  if (llm.has_chat_template()) {
    result = llm.Chat(turns, sampling);
  } else {
    std::string text;
    for (const ChatTurn& turn : turns) text += turn.content;
    result = llm.Generate(text, sampling);
  }
  std::puts("");
  if (!result.error.empty()) {
    std::fprintf(stderr, "quire: %s; /new begins anew\n", result.error.c_str());
    turns.pop_back();
    return false;
  }
  turns.push_back({"assistant", result.text});
  return true;
}

int RunChat(Flags& flags) {
  const bool interactive = ::isatty(STDIN_FILENO) != 0 && ::isatty(STDOUT_FILENO) != 0;
  const bool built_in = flags.engine.model.empty() || flags.engine.model == kBuiltInModelName;
  LlmResult llm = LoadLlm(flags.engine);
  if (!llm) {
    std::fprintf(stderr, "quire: %s\n", llm.error.c_str());
    return llm.exit_code;
  }
  struct sigaction on_interrupt = {};
  on_interrupt.sa_handler = [](int) { interrupted = 1; };
  sigaction(SIGINT, &on_interrupt, nullptr);  // without SA_RESTART: reading a line ends too
  flags.sampling.on_text = [](std::string_view piece) {
    std::fwrite(piece.data(), 1, piece.size(), stdout);
    return std::fflush(stdout) == 0 && interrupted == 0;
  };
  if (interactive) Greet(*llm.llm, built_in);
  std::vector<ChatTurn> turns;
  auto begin = [&] {
    turns.clear();
    if (!flags.system.empty()) turns.push_back({"system", flags.system});
  };
  begin();
  Terminal terminal(interactive);
  while (auto line = terminal.ReadLine()) {
    if (line->empty()) continue;
    if (*line == "/exit" || *line == "/quit") break;
    if (*line == "/new") {
      begin();
      continue;
    }
    Answer(*llm.llm, turns, *line, flags.sampling);
  }
  return 0;
}

}  // namespace

Command AddChatCommand(CLI::App& program) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = program.add_subcommand("chat", "Talk with a model in the terminal");
  command->add_option("--system", flags->system, "System message")->group("Text");
  AddSamplingFlags(*command, flags->sampling);
  AddEngineFlags(*command, flags->engine);
  return [flags] { return RunChat(*flags); };
}

}  // namespace quire
