// EngineProcess: starts, signals and buries one engine process.
#pragma once

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "ipc/channel.h"
#include "ipc/unique_fd.h"

namespace quire {

// How a process ended, as waitpid tells.
struct ExitStatus {
  std::optional<int> exit_code;  // none: a signal killed it
  int signal = 0;                // 0: none, or it is not known
};

std::string Describe(
    const ExitStatus& status);  // "exited with code 3", "was killed by signal 9 (Killed)"

// Owns one child process; one that still lives is killed by the destructor, and none is left as a
// zombie.
class EngineProcess {
 public:
  // Executes `program` with argv plus --ipc-fds=… for `fds`, in a process group of its own (the
  // terminal's Ctrl-C is the front end's business), stdin /dev/null, stdout and stderr on our
  // stderr, and no other descriptor. The engine dies with the calling *thread*, so that must be one
  // that lives on.
  static Result<std::unique_ptr<EngineProcess>> Start(const std::string& program,
                                                      std::vector<std::string> argv,
                                                      const ChannelFds& fds);
  ~EngineProcess();
  EngineProcess(const EngineProcess&) = delete;
  EngineProcess& operator=(const EngineProcess&) = delete;

  pid_t pid() const { return pid_; }
  // Readable once it has ended; −1 where the kernel has no such thing, then TryReap must be polled.
  int pidfd() const { return pidfd_.get(); }
  void Signal(int number);
  // How it ended, once the kernel confirms that it did. Does not wait.
  std::optional<ExitStatus> TryReap();

 private:
  explicit EngineProcess(pid_t pid);
  std::optional<ExitStatus> Reap(int flags);

  pid_t pid_;
  UniqueFd pidfd_;
  std::optional<ExitStatus> status_;
};

}  // namespace quire
