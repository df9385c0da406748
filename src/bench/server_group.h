// ServerGroup: a server started to be measured, with all that it starts in turn.
#pragma once

#include <sys/types.h>

#include <cstdio>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/result.h"

namespace quire {

// Owns a process group and what it prints: the group is over when this is. Any thread may call
// Running and End.
class ServerGroup {
 public:
  // words[0] is looked up as a shell does it; nothing else of a shell takes part. Standard input is
  // empty. A kConfig error where it cannot be started.
  static Result<std::unique_ptr<ServerGroup>> Start(std::vector<std::string> words);
  ~ServerGroup();
  ServerGroup(const ServerGroup&) = delete;
  ServerGroup& operator=(const ServerGroup&) = delete;

  bool Running();
  // SIGTERM, and SIGKILL for what is left when the first process has ended or 5 s are over.
  void End();
  // How it ended and the last line it printed; of one that is not running.
  std::string Epitaph();

 private:
  struct CloseFile {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  using Output = std::unique_ptr<std::FILE, CloseFile>;
  ServerGroup(pid_t pid, Output output) : pid_(pid), output_(std::move(output)) {}

  bool HasEnded() const;  // it may not be reaped yet

  std::mutex mutex_;
  const pid_t pid_;
  Output output_;
  bool reaped_ = false;
  int wait_status_ = 0;
};

// Words between blanks; '…' and "…" keep blanks within, without further meaning. An error where a
// quote has no end.
Result<std::vector<std::string>> SplitWords(const std::string& text);

}  // namespace quire
