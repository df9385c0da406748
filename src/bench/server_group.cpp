#include "bench/server_group.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <string_view>
#include <thread>
#include <utility>

#include "base/clock.h"
#include "bench/printable.h"

namespace quire {
namespace {

constexpr std::chrono::seconds kGrace{5};
constexpr std::chrono::milliseconds kPoll{5};

// Owns what posix_spawnp is given.
class GroupSetup {
 public:
  GroupSetup() {
    ::posix_spawn_file_actions_init(&actions_);
    ::posix_spawnattr_init(&attributes_);
  }
  ~GroupSetup() {
    ::posix_spawn_file_actions_destroy(&actions_);
    ::posix_spawnattr_destroy(&attributes_);
  }
  GroupSetup(const GroupSetup&) = delete;
  GroupSetup& operator=(const GroupSetup&) = delete;

  // 0, or the first error.
  int Prepare(int output) {
    Try(::posix_spawn_file_actions_addopen(&actions_, STDIN_FILENO, "/dev/null", O_RDONLY, 0));
    Try(::posix_spawn_file_actions_adddup2(&actions_, output, STDOUT_FILENO));
    Try(::posix_spawn_file_actions_adddup2(&actions_, output, STDERR_FILENO));
    Try(::posix_spawn_file_actions_addclosefrom_np(&actions_, STDERR_FILENO + 1));
    sigset_t none;
    sigset_t all;
    ::sigemptyset(&none);
    ::sigfillset(&all);
    Try(::posix_spawnattr_setsigmask(&attributes_, &none));
    Try(::posix_spawnattr_setsigdefault(&attributes_, &all));
    Try(::posix_spawnattr_setpgroup(&attributes_, 0));
    Try(::posix_spawnattr_setflags(
        &attributes_, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP));
    return error_;
  }
  const posix_spawn_file_actions_t* actions() const { return &actions_; }
  const posix_spawnattr_t* attributes() const { return &attributes_; }

 private:
  void Try(int error) {
    if (error_ == 0) error_ = error;
  }

  posix_spawn_file_actions_t actions_{};
  posix_spawnattr_t attributes_{};
  int error_ = 0;
};

std::string LastLine(std::FILE* file) {
  std::array<char, 4096> tail{};
  const int fd = ::fileno(file);
  const off_t size = ::lseek(fd, 0, SEEK_END);
  const off_t from = std::max<off_t>(0, size - static_cast<off_t>(tail.size()));
  const ssize_t got = ::pread(fd, tail.data(), tail.size(), from);
  if (got <= 0) return "";
  std::string_view text(tail.data(), static_cast<std::size_t>(got));
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r' || text.back() == ' '))
    text.remove_suffix(1);
  const std::size_t line = text.rfind('\n');
  return PrintableText(line == std::string_view::npos ? text : text.substr(line + 1), 400);
}

}  // namespace

Result<std::unique_ptr<ServerGroup>> ServerGroup::Start(std::vector<std::string> words) {
  if (words.empty()) return ConfigFault("there is no program to start");
  Output output(std::tmpfile());
  if (output == nullptr) {
    return Error{
        ErrorKind::kInternal,
        fmt::format("cannot make a file for the server's output: {}", std::strerror(errno)), "",
        ""};
  }
  GroupSetup setup;
  int error = setup.Prepare(::fileno(output.get()));
  std::vector<char*> pointers;
  pointers.reserve(words.size() + 1);
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  pid_t pid = -1;
  if (error == 0) {
    error = ::posix_spawnp(&pid, pointers[0], setup.actions(), setup.attributes(), pointers.data(),
                           ::environ);
  }
  if (error != 0) {
    return ConfigFault(
        fmt::format("cannot start '{}': {}", PrintableText(words[0]), std::strerror(error)));
  }
  return std::unique_ptr<ServerGroup>(new ServerGroup(pid, std::move(output)));
}

ServerGroup::~ServerGroup() { End(); }

bool ServerGroup::HasEnded() const {
  // It is not reaped: while it is there, no other group can have its number.
  siginfo_t info{};
  const int got = ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT);
  return got != 0 || info.si_pid == pid_;
}

bool ServerGroup::Running() {
  const std::lock_guard lock(mutex_);
  return !reaped_ && !HasEnded();
}

void ServerGroup::End() {
  const std::lock_guard lock(mutex_);
  if (reaped_) return;
  ::kill(-pid_, SIGTERM);
  const TimePoint deadline = Now() + kGrace;
  while (!HasEnded() && Now() < deadline) std::this_thread::sleep_for(kPoll);
  ::kill(-pid_, SIGKILL);
  pid_t got = 0;
  do {
    got = ::waitpid(pid_, &wait_status_, 0);
  } while (got < 0 && errno == EINTR);
  reaped_ = true;
}

std::string ServerGroup::Epitaph() {
  End();
  const std::lock_guard lock(mutex_);
  std::string how = "ended";
  if (WIFEXITED(wait_status_)) how = fmt::format("ended with code {}", WEXITSTATUS(wait_status_));
  if (WIFSIGNALED(wait_status_))
    how = fmt::format("was ended by signal {}", WTERMSIG(wait_status_));
  const std::string line = LastLine(output_.get());
  return line.empty() ? how : how + ": " + line;
}

Result<std::vector<std::string>> SplitWords(const std::string& text) {
  std::vector<std::string> words;
  std::string word;
  bool in_word = false;
  char quote = 0;
  for (const char c : text) {
    if (quote != 0) {
      if (c == quote) {
        quote = 0;
      } else {
        word.push_back(c);
      }
    } else if (c == '\'' || c == '"') {
      quote = c;
      in_word = true;
    } else if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
      if (in_word) words.push_back(std::move(word));
      word.clear();
      in_word = false;
    } else {
      word.push_back(c);
      in_word = true;
    }
  }
  if (quote != 0) return ConfigFault(fmt::format("a {} has no end", quote));
  if (in_word) words.push_back(std::move(word));
  return words;
}

}  // namespace quire
