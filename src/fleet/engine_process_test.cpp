// The engine's side, seen by a front end that the test plays itself; fake_engine lies beside this
// program.
#include "fleet/engine_process.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <csignal>
#include <filesystem>
#include <string>
#include <utility>
#include <variant>

#include "ipc/codec.h"

namespace quire {
namespace {

// Owns an engine and the channel to it.
struct Engine {
  Engine() : channel(std::move(FrontChannel::Create(4096)).value()) {
    const auto program =
        std::filesystem::read_symlink("/proc/self/exe").parent_path() / "fake_engine";
    process = std::move(EngineProcess::Start(program.string(), {"fake_engine", "echo"},
                                             channel->engine_fds()))
                  .value();
    channel->CloseEngineEnd();
  }

  // The next message of type T, within 10 s.
  template <class T>
  std::optional<T> Next() {
    for (int i = 0; i < 1000; ++i) {
      while (true) {
        const auto frame = assembler.Next();
        if (!frame || !frame->has_value()) break;
        auto message = Decode(**frame);
        if (message && std::holds_alternative<T>(*message)) return std::get<T>(*message);
      }
      char bytes[512];
      const auto count = channel->reader().Read(bytes, sizeof(bytes));
      if (count && *count > 0) {
        assembler.Append({bytes, *count});
      } else {
        ::poll(nullptr, 0, 10);
      }
    }
    return std::nullopt;
  }

  std::optional<ExitStatus> WaitForExit() {
    pollfd end = {process->pidfd(), POLLIN, 0};
    ::poll(&end, 1, 10'000);
    return process->TryReap();
  }

  std::unique_ptr<FrontChannel> channel;
  std::unique_ptr<EngineProcess> process;
  FrameAssembler assembler;
};

TEST(EngineProcessTest, TheEngineSkipsMessagesThatMakeNoSense) {
  Engine engine;
  ASSERT_TRUE(engine.Next<EngineInfo>());
  std::string bad = Encode(Message(CancelMessage{{1}})).value();
  bad[6] = 1;  // the type of another message, which has another length
  engine.channel->sender().Send(bad);
  engine.channel->sender().Send(Encode(EngineReport{}).value());  // the wrong direction
  Request request;
  request.id = {5};
  request.prompt = {42};
  engine.channel->sender().Send(Encode(request).value());
  const auto report = engine.Next<EngineReport>();
  ASSERT_TRUE(report);
  ASSERT_EQ(report->outputs.size(), 1U);
  EXPECT_EQ(report->outputs[0].id, RequestId{5});
  EXPECT_EQ(report->outputs[0].tokens, std::vector<TokenId>{42});
}

TEST(EngineProcessTest, TheEngineGivesUpAFrontEndThatDoesNotSpeakInFrames) {
  Engine engine;
  ASSERT_TRUE(engine.Next<EngineInfo>());
  engine.channel->sender().Send("these are no frames");
  const auto status = engine.WaitForExit();
  ASSERT_TRUE(status);
  EXPECT_EQ(status->exit_code, 0);
}

TEST(EngineProcessTest, TheEndIsToldAsItWas) {
  Engine engine;
  ASSERT_TRUE(engine.Next<EngineInfo>());
  EXPECT_FALSE(engine.process->TryReap());
  engine.process->Signal(SIGTERM);
  const auto status = engine.WaitForExit();
  ASSERT_TRUE(status);
  EXPECT_EQ(status->signal, SIGTERM);
  EXPECT_EQ(Describe(*status), "was killed by signal 15 (Terminated)");
  EXPECT_EQ(Describe({3, 0}), "exited with code 3");
}

}  // namespace
}  // namespace quire
