// quire engine: the process behind the front end. It sees token ids only.
#include <unistd.h>

#include <condition_variable>
#include <cstdio>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "base/exit_code.h"
#include "base/time_slice.h"
#include "cli/commands.h"
#include "cli/engine_options.h"
#include "ipc/engine_link.h"

namespace quire {
namespace {

struct Flags {
  EngineFlags engine;
  std::string ipc_fds;
};

// Lets the main thread wait for the front end's word.
class Signal {
 public:
  void Set() {
    const std::lock_guard lock(mutex_);
    set_ = true;
    changed_.notify_all();
  }
  void Wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return set_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool set_ = false;
};

int Refuse(EngineLink& link, const Error& error) {
  (void)link.SendFailed(ExitCodeOf(error.kind), error.message);
  return ExitCodeOf(error.kind);
}

int RunEngine(Flags& flags) {
  ApplyLogLevel(flags.engine.log_level, "engine");
  SetTimeSlice(std::chrono::microseconds(0));  // not the front end's, which started us
  auto fds = ParseChannelFds(flags.ipc_fds);
  if (!fds) return Fail(fds.error());
  Signal shutdown;
  auto link = EngineLink::Open(
      *fds, {.on_shutdown = [&] { shutdown.Set(); }, .on_peer_gone = [] { ::_exit(1); }});
  if (!link) return Fail(link.error());
  if (const Status status = FinishEngineFlags(flags.engine); !status.ok())
    return Refuse(**link, status.error());
  auto engine = LoadEngine(
      flags.engine.config,
      [&](std::size_t done, std::size_t total) {
        (void)(*link)->SendLoading({done, total});
      },
      [&](EngineReport report) { (void)(*link)->SendReport(report); });
  if (!engine) return Refuse(**link, engine.error());
  const Status ready = (*link)->SendReady(
      (*engine)->info(),
      {.on_submit = [&](Request request) { (*engine)->Submit(std::move(request)); },
       .on_cancel = [&](RequestId id) { (*engine)->Cancel(id); }});
  if (ready.ok()) shutdown.Wait();
  // Nobody waits for what is under way: the process ends here, its memory with it.
  std::fflush(nullptr);
  ::_exit(ready.ok() ? 0 : 1);
}

}  // namespace

Command AddEngineCommand(CLI::App& program) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command =
      program.add_subcommand("engine", "The engine process; `quire serve` starts it");
  command->group("");
  command->add_option("--ipc-fds", flags->ipc_fds, "Descriptors of the channel")->required();
  AddEngineFlags(*command, flags->engine);
  return [flags] { return RunEngine(*flags); };
}

}  // namespace quire
