#include "fleet/engine_process.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

namespace quire {
namespace {

constexpr int kFirstFd = 3;   // in the engine
constexpr int kSafeFd = 100;  // copies from here on are not in the way of the engine's numbers

Error Fault(const char* what, int number) {
  return {ErrorKind::kInternal, fmt::format("{}: {}", what, std::strerror(number)), "", ""};
}

// Owns what posix_spawn is given.
class SpawnSetup {
 public:
  SpawnSetup() {
    ::posix_spawn_file_actions_init(&actions_);
    ::posix_spawnattr_init(&attributes_);
  }
  ~SpawnSetup() {
    ::posix_spawn_file_actions_destroy(&actions_);
    ::posix_spawnattr_destroy(&attributes_);
  }
  SpawnSetup(const SpawnSetup&) = delete;
  SpawnSetup& operator=(const SpawnSetup&) = delete;

  // 0, or the first error.
  int Prepare(const std::array<UniqueFd, 4>& fds) {
    Try(::posix_spawn_file_actions_addopen(&actions_, STDIN_FILENO, "/dev/null", O_RDONLY, 0));
    if (::fcntl(STDERR_FILENO, F_GETFD) >= 0) {
      Try(::posix_spawn_file_actions_adddup2(&actions_, STDERR_FILENO, STDOUT_FILENO));
    }
    int number = kFirstFd;
    for (const UniqueFd& fd : fds) {
      Try(::posix_spawn_file_actions_adddup2(&actions_, fd.get(), number++));
    }
    Try(::posix_spawn_file_actions_addclosefrom_np(&actions_, number));
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

}  // namespace

std::string Describe(const ExitStatus& status) {
  if (status.exit_code) return fmt::format("exited with code {}", *status.exit_code);
  if (status.signal == 0) return "ended";
  return fmt::format("was killed by signal {} ({})", status.signal, ::strsignal(status.signal));
}

Result<std::unique_ptr<EngineProcess>> EngineProcess::Start(const std::string& program,
                                                            std::vector<std::string> argv,
                                                            const ChannelFds& fds) {
  std::array<UniqueFd, 4> copies;
  const std::array<int, 4> originals = {fds.socket, fds.ring, fds.doorbell, fds.space};
  for (std::size_t i = 0; i < copies.size(); ++i) {
    copies[i].Reset(::fcntl(originals[i], F_DUPFD_CLOEXEC, kSafeFd));
    if (!copies[i].valid()) return Fault("cannot hand a descriptor to the engine", errno);
  }
  SpawnSetup setup;
  if (const int error = setup.Prepare(copies); error != 0) {
    return Fault("cannot prepare the engine's start", error);
  }
  argv.push_back("--ipc-fds=" +
                 FormatChannelFds({kFirstFd, kFirstFd + 1, kFirstFd + 2, kFirstFd + 3}));
  std::vector<char*> pointers;
  pointers.reserve(argv.size() + 1);
  for (std::string& argument : argv) pointers.push_back(argument.data());
  pointers.push_back(nullptr);
  pid_t pid = -1;
  const int error = ::posix_spawn(&pid, program.c_str(), setup.actions(), setup.attributes(),
                                  pointers.data(), ::environ);
  if (error != 0) return Fault("cannot start the engine", error);
  return std::unique_ptr<EngineProcess>(new EngineProcess(pid));
}

EngineProcess::EngineProcess(pid_t pid)
    : pid_(pid), pidfd_(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))) {}

EngineProcess::~EngineProcess() {
  if (TryReap()) return;
  Signal(SIGKILL);
  Reap(0);
}

void EngineProcess::Signal(int number) {
  // While it is not reaped, no other process can have its number.
  if (!status_) ::kill(pid_, number);
}

std::optional<ExitStatus> EngineProcess::TryReap() { return Reap(WNOHANG); }

std::optional<ExitStatus> EngineProcess::Reap(int flags) {
  if (status_) return status_;
  int raw = 0;
  pid_t got = 0;
  do {
    got = ::waitpid(pid_, &raw, flags);
  } while (got < 0 && errno == EINTR);
  if (got == 0) return std::nullopt;
  // An error means that somebody else has reaped it (SIGCHLD ignored): it is gone all the same.
  ExitStatus status;
  if (got > 0 && WIFEXITED(raw)) status.exit_code = WEXITSTATUS(raw);
  if (got > 0 && WIFSIGNALED(raw)) status.signal = WTERMSIG(raw);
  status_ = status;
  return status_;
}

}  // namespace quire
