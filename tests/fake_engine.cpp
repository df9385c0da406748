// A small engine without a model, for the tests of fleet/: fake_engine MODE … --ipc-fds=…
// It answers a request by what its first prompt token says; see kHold and the others.
#include <sys/prctl.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "fleet/process_gateway.h"
#include "ipc/codec.h"
#include "ipc/engine_link.h"
#include "ipc/ring.h"

namespace quire {
namespace {

// First prompt tokens. Any other: all prompt tokens come back, one output each.
constexpr TokenId kHold = 1000;   // no answer
constexpr TokenId kExit = 1001;   // exits with code 7
constexpr TokenId kCrash = 1002;  // dies of a signal
constexpr TokenId kBig = 1003;    // one output of as many tokens as the second token says

struct FakeOptions {
  std::string mode;
  std::string state_file;  // dies-later: exists from the first life on
  std::string ipc_fds;
};

void Echo(EngineLink& link, const Request& request) {
  EngineReport report;
  report.stats.num_running = 1;
  RequestOutput output;
  output.id = request.id;
  for (std::size_t i = 0; i < request.prompt.size(); ++i) {
    output.output_index = static_cast<std::int32_t>(i);
    output.tokens = {request.prompt[i]};
    if (i + 1 == request.prompt.size()) output.finish_reason = FinishReason::kLength;
    report.outputs = {output};
    ++report.stats.num_steps;
    (void)link.SendReport(report);
  }
}

void Big(EngineLink& link, const Request& request) {
  RequestOutput output;
  output.id = request.id;
  output.tokens.assign(static_cast<std::size_t>(request.prompt.at(1)), 5);
  output.finish_reason = FinishReason::kStop;
  (void)link.SendReport({{}, {output}});
}

void Answer(EngineLink& link, const Request& request) {
  switch (request.prompt.at(0)) {
    case kHold:
      return;
    case kExit:
      ::_exit(7);
    case kCrash:
      std::raise(SIGKILL);
      return;
    case kBig:
      return Big(link, request);
    default:
      return Echo(link, request);
  }
}

// Fails as the mode says, or returns true.
bool Load(EngineLink& link, const FakeOptions& options) {
  for (std::uint64_t i = 0; i <= 4; ++i) (void)link.SendLoading({i * 25, 100});
  if (options.mode == "bad-model") {
    (void)link.SendFailed(3, "config.json: hidden_size is missing");
    return false;
  }
  if (options.mode == "crash-in-load") ::_exit(9);
  if (options.mode == "dies-later") {
    if (std::ifstream(options.state_file).good()) ::_exit(9);
    std::ofstream(options.state_file) << "1";
  }
  return true;
}

// Writes into the ring what no EngineLink would.
int RunBroken(const ChannelFds& fds, bool in_frames) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  auto memory = RingMemory::Open(UniqueFd(fds.ring));
  if (!memory) return 1;
  RingWriter writer(*memory, {fds.doorbell, fds.space});
  std::string bytes = "these are no frames, these are no frames";
  if (in_frames) {
    bytes = Encode(EngineReport{}).value();
    bytes[6] = 2;  // another type, which has another length
    bytes += Encode(Message(EngineInfo{})).value();
  }
  (void)writer.Write(bytes, fds.socket);
  while (true) ::pause();
}

int RunEngine(const FakeOptions& options) {
  const bool stubborn = options.mode == "stubborn";
  if (stubborn) std::signal(SIGTERM, SIG_IGN);
  const auto fds = ParseChannelFds(options.ipc_fds);
  if (!fds) return 2;
  if (options.mode == "sends-nonsense") return RunBroken(*fds, true);
  if (options.mode == "sends-no-frames") return RunBroken(*fds, false);
  auto link = EngineLink::Open(*fds, {[=] {
                                        if (!stubborn) ::_exit(0);
                                      },
                                      [&] {
                                        if (options.mode != "ignores-hang-up") ::_exit(0);
                                      }});
  if (!link) return 1;
  if (options.mode == "no-death-signal") ::prctl(PR_SET_PDEATHSIG, 0);
  if (!Load(**link, options)) return 3;
  EngineInfo info;
  info.architecture = "fake";
  info.vocab_size = 2000;
  EngineLink& ready = **link;
  (void)ready.SendReady(info, {[&](Request request) { Answer(ready, request); },
                               [&](RequestId id) {
                                 EngineReport report;
                                 report.stats.num_steps = id.value;  // the test sees it there
                                 (void)ready.SendReport(report);
                               }});
  while (true) ::pause();
}

// A front end with an engine of its own, that a test can kill.
int RunFrontEnd(const std::string& engine_mode) {
  ProcessGatewayOptions options;
  options.argv = {"fake_engine", engine_mode};
  ProcessGateway gateway(options);
  if (!gateway.WaitReady()) return 1;
  std::printf("%d\n", gateway.engine_pid());
  std::fflush(stdout);
  while (true) ::pause();
}

}  // namespace
}  // namespace quire

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  if (arguments.size() == 2 && arguments[0] == "front-end") return quire::RunFrontEnd(arguments[1]);
  quire::FakeOptions options;
  constexpr std::string_view kFds = "--ipc-fds=";
  for (const std::string& argument : arguments) {
    if (argument.rfind(kFds, 0) == 0) {
      options.ipc_fds = argument.substr(kFds.size());
    } else if (options.mode.empty()) {
      options.mode = argument;
    } else {
      options.state_file = argument;
    }
  }
  return quire::RunEngine(options);
}
