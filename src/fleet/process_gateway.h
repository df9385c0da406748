// ProcessGateway: one engine in a process of its own, kept running.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "fleet/engine_gateway.h"
#include "fleet/restart_policy.h"
#include "ipc/message.h"

namespace quire {

struct ProcessGatewayOptions {
  std::string program = "/proc/self/exe";
  // With argv[0]: {"quire", "engine", …}. "--ipc-fds=3,4,5,6" is appended. Restarts use the same.
  std::vector<std::string> argv;
  std::size_t ring_bytes = std::size_t{4} << 20;  // a power of two
  std::size_t max_queued_bytes = std::size_t{64}
                                 << 20;  // requests that the engine has not read yet
  RestartLimits restart;
  Duration kill_after = std::chrono::seconds(3);  // from SIGTERM to SIGKILL
  // Each change of state, on the gateway's thread or in Stop; must not block nor call the gateway's
  // Stop. kFailed is final: the owner should exit with a code other than 0 then.
  std::function<void(EngineState)> on_state;
};

// Owns the engine's process, the channel to it, the handlers of unfinished requests, and one thread
// that starts and watches the engine and hands out its reports.
//
// When the engine dies, every unfinished request ends with kError, new ones get kUnavailable with
// the code "engine_restarting", stats() are zeros again (and the StatsHandler is told), and the
// engine is started again after a wait. Codes of the other kUnavailable: engine_loading,
// engine_failed, server_draining.
class ProcessGateway final : public EngineGateway {
 public:
  using ProgressHandler = std::function<void(const LoadProgress&)>;

  // Starts the thread and with it the engine; returns at once.
  explicit ProcessGateway(ProcessGatewayOptions options);
  ~ProcessGateway() override;  // Stop(0)

  // Waits until the engine is ready for the first time; on_progress is called on this thread
  // meanwhile. An engine that exits with 2, 3 or 4 before that is not started again: the error has
  // kind kConfig, kModel or kDevice, and the engine's own line. kInternal where it is given up for
  // another reason.
  Result<EngineInfo> WaitReady(const ProgressHandler& on_progress = {});

  // Asks the engine to finish; after `grace` SIGTERM, after kill_after more SIGKILL. Outputs are
  // still handed out meanwhile; requests that are unfinished then end with kError. Waits for the
  // end. Idempotent. Not to be called from a handler.
  void Stop(Duration grace);

  Status Submit(Request request, OutputHandler on_output) override;
  void Cancel(RequestId id) override;
  EngineState state() const override;
  EngineInfo info() const override;
  EngineStats stats() const override;
  void OnStats(StatsHandler handler) override;

  std::uint64_t restarts() const;      // starts after the first one
  std::size_t num_unfinished() const;  // requests whose handler waits for its last call
  pid_t engine_pid() const;            // 0: none is running

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace quire
