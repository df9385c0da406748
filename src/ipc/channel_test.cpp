#include "ipc/channel.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <random>
#include <string>
#include <vector>

#include "ipc/codec.h"

namespace quire {
namespace {

std::string Cancel(std::uint64_t id) { return Encode(Message(CancelMessage{{id}})).value(); }

TEST(ChannelTest, DescriptorNumbersRoundTrip) {
  const auto fds = ParseChannelFds(FormatChannelFds({3, 4, 5, 60}));
  ASSERT_TRUE(fds.ok());
  EXPECT_EQ(fds->socket, 3);
  EXPECT_EQ(fds->ring, 4);
  EXPECT_EQ(fds->doorbell, 5);
  EXPECT_EQ(fds->space, 60);
  for (const char* bad : {"", "3", "3,4,5", "3,4,5,", "3,4,5,6,", "3,4,5,6,7", "3,,5,6", "3,4,5,-6",
                          "a,b,c,d", "3, 4,5,6", "3,4,5,99999999999"}) {
    EXPECT_FALSE(ParseChannelFds(bad).ok()) << bad;
  }
}

TEST(ChannelTest, FramesAreCutWhereverTheStreamIsCut) {
  std::string stream;
  for (std::uint64_t id = 0; id < 200; ++id) {
    stream += Cancel(id);
    if (id % 10 == 0) stream += Encode(Message(LoadFailure{1, std::string(id * 100, 'x')})).value();
  }
  std::mt19937 random(1);
  for (int round = 0; round < 20; ++round) {
    FrameAssembler assembler;
    std::uint64_t next = 0;
    std::size_t at = 0;
    while (at < stream.size()) {
      const std::size_t size = std::min<std::size_t>(1 + random() % 700, stream.size() - at);
      assembler.Append(std::string_view(stream).substr(at, size));
      at += size;
      while (true) {
        const auto frame = assembler.Next();
        ASSERT_TRUE(frame.ok());
        if (!frame->has_value()) break;
        const auto message = Decode(**frame);
        ASSERT_TRUE(message.ok());
        if (const auto* cancel = std::get_if<CancelMessage>(&*message)) {
          ASSERT_EQ(cancel->id.value, next++);
        }
      }
    }
    EXPECT_EQ(next, 200U);
  }
}

TEST(ChannelTest, AStreamThatIsNotInFramesIsAnError) {
  FrameAssembler assembler;
  assembler.Append("GET / HTTP/1.1\r\n");
  EXPECT_FALSE(assembler.Next().ok());
}

TEST(ChannelTest, ASlowPeerNeverBlocksTheSender) {
  auto channel = FrontChannel::Create(4096);
  ASSERT_TRUE(channel.ok());
  FrameSender& sender = (*channel)->sender();
  std::string expected;
  for (std::uint64_t id = 0; id < 100; ++id) {
    const std::string frame =
        Encode(Message(LoadFailure{1, std::string(20000, static_cast<char>(id))})).value();
    expected += frame;
    sender.Send(frame);
  }
  EXPECT_TRUE(sender.has_queued());
  EXPECT_GT(sender.queued_bytes(), 0U);
  std::string got;
  std::string buffer(70000, '\0');
  while (got.size() < expected.size()) {
    const ssize_t count =
        ::recv((*channel)->engine_fds().socket, buffer.data(), buffer.size(), MSG_DONTWAIT);
    ASSERT_GT(count, 0);
    got.append(buffer, 0, static_cast<std::size_t>(count));
    sender.Flush();
  }
  EXPECT_EQ(got, expected);
  EXPECT_FALSE(sender.has_queued());
  EXPECT_EQ(sender.queued_bytes(), 0U);
}

TEST(ChannelTest, SendingToADeadPeerIsDropped) {
  auto channel = FrontChannel::Create(4096);
  ASSERT_TRUE(channel.ok());
  (*channel)->CloseEngineEnd();
  (*channel)->sender().Send(Cancel(1));
  (*channel)->sender().Send(Cancel(2));
  EXPECT_FALSE((*channel)->sender().has_queued());
}

}  // namespace
}  // namespace quire
