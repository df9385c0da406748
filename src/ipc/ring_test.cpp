#include "ipc/ring.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <chrono>
#include <cstring>
#include <random>
#include <string>
#include <thread>
#include <utility>

#include "base/clock.h"

namespace quire {
namespace {

using std::chrono::milliseconds;

bool Readable(int fd, int timeout_ms) {
  pollfd p = {fd, POLLIN, 0};
  return ::poll(&p, 1, timeout_ms) == 1;
}

// Owns a ring with its bells and both ends of the socket that tells of hang-ups.
struct RingFixture {
  explicit RingFixture(std::size_t capacity)
      : doorbell(::eventfd(0, EFD_NONBLOCK)),
        space(::eventfd(0, EFD_NONBLOCK)),
        memory(std::move(RingMemory::Create(capacity)).value()),
        writer(memory, {doorbell.get(), space.get()}),
        reader(memory, {doorbell.get(), space.get()}) {
    int sockets[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
    writer_socket.Reset(sockets[0]);
    reader_socket.Reset(sockets[1]);
  }

  // What is there, sleeping where there is nothing.
  std::string ReadSome(std::size_t size) {
    std::string bytes(size, '\0');
    while (true) {
      const auto count = reader.Read(bytes.data(), size);
      if (!count) return {};
      if (*count > 0) {
        bytes.resize(*count);
        return bytes;
      }
      if (reader.PrepareToSleep()) Readable(doorbell.get(), -1);
      reader.WakeUp();
    }
  }

  UniqueFd doorbell;
  UniqueFd space;
  RingMemory memory;
  RingWriter writer;
  RingReader reader;
  UniqueFd writer_socket;
  UniqueFd reader_socket;
};

double CpuSeconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

TEST(RingTest, TwoThreadsMoveAllBytesInOrder) {
  RingFixture ring(4096);
  constexpr std::size_t kTotal = std::size_t{8} << 20;
  std::thread writing([&] {
    std::mt19937 random(1);
    std::string piece;
    std::size_t at = 0;
    while (at < kTotal) {
      // From one byte to three times the ring.
      const std::size_t size =
          std::min<std::size_t>(kTotal - at, 1 + random() % (random() % 8 == 0 ? 12288 : 300));
      piece.resize(size);
      for (char& c : piece) c = static_cast<char>((at++ * 7) >> 3);
      ASSERT_TRUE(ring.writer.Write(piece, ring.writer_socket.get()).ok());
      if (random() % 512 == 0) std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
  });
  std::mt19937 random(2);
  std::size_t at = 0;
  while (at < kTotal) {
    const std::string bytes = ring.ReadSome(1 + random() % 5000);
    ASSERT_FALSE(bytes.empty());
    for (const char c : bytes) ASSERT_EQ(c, static_cast<char>((at++ * 7) >> 3));
    if (random() % 512 == 0) std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
  writing.join();
}

TEST(RingTest, TheDoorbellRingsOnlyForASleeper) {
  RingFixture ring(4096);
  ASSERT_TRUE(ring.writer.Write("abc", -1).ok());
  EXPECT_FALSE(Readable(ring.doorbell.get(), 0));
  EXPECT_FALSE(ring.reader.PrepareToSleep());  // there are bytes
  ring.reader.WakeUp();
  EXPECT_EQ(ring.ReadSome(10), "abc");
  EXPECT_TRUE(ring.reader.PrepareToSleep());
  ASSERT_TRUE(ring.writer.Write("d", -1).ok());
  ASSERT_TRUE(ring.writer.Write("e", -1).ok());
  EXPECT_TRUE(Readable(ring.doorbell.get(), 0));
  ring.reader.WakeUp();
  EXPECT_FALSE(Readable(ring.doorbell.get(), 0));
  EXPECT_EQ(ring.ReadSome(10), "de");
}

TEST(RingTest, AFullRingMakesTheWriterSleepWithoutSpinning) {
  RingFixture ring(4096);
  std::thread writing([&] {
    EXPECT_TRUE(ring.writer.Write(std::string(5000, 'x'), ring.writer_socket.get()).ok());
  });
  std::this_thread::sleep_for(milliseconds(20));
  const double before = CpuSeconds();
  std::this_thread::sleep_for(milliseconds(200));
  EXPECT_LT(CpuSeconds() - before, 0.02);
  std::size_t got = 0;
  while (got < 5000) got += ring.ReadSome(999).size();
  writing.join();
}

TEST(RingTest, TheReadersDeathEndsAWaitingWriter) {
  RingFixture ring(4096);
  Status status;
  std::thread writing(
      [&] { status = ring.writer.Write(std::string(5000, 'x'), ring.writer_socket.get()); });
  std::this_thread::sleep_for(milliseconds(20));
  ring.reader_socket.Reset();
  writing.join();
  EXPECT_FALSE(status.ok());
}

TEST(RingTest, TheOtherProcessSeesTheSameBytes) {
  RingFixture ring(8192);
  auto other = RingMemory::Open(UniqueFd(::dup(ring.memory.fd())));
  ASSERT_TRUE(other.ok());
  EXPECT_EQ(other->capacity(), 8192U);
  RingWriter writer(*other, {ring.doorbell.get(), ring.space.get()});
  ASSERT_TRUE(writer.Write("hello", -1).ok());
  EXPECT_EQ(ring.ReadSome(10), "hello");
}

constexpr std::size_t kHeadOffset = 64;
constexpr std::size_t kTailOffset = 128;

void Scribble(const RingMemory& memory, std::size_t offset, std::uint64_t value) {
  std::memcpy(reinterpret_cast<unsigned char*>(memory.header()) + offset, &value, sizeof(value));
}

// A broken writer can write anything anywhere into the shared memory.
TEST(RingTest, SenselessBytesInTheHeaderAreAnErrorAndNoAccessOutside) {
  for (std::size_t offset = 0; offset < 320; offset += 8) {
    RingFixture ring(4096);
    ASSERT_TRUE(ring.writer.Write("abc", -1).ok());
    Scribble(ring.memory, offset, 0x7fffffffffff0000);
    char out[16];
    const auto count = ring.reader.Read(out, sizeof(out));
    EXPECT_EQ(count.ok(), offset != kHeadOffset) << offset;
    if (count) {
      EXPECT_EQ(*count, 3U);
    }
  }
}

TEST(RingTest, ABrokenReaderIsNoticedByTheWriter) {
  RingFixture ring(4096);
  Scribble(ring.memory, kTailOffset, 12345);  // more read than was written
  EXPECT_FALSE(ring.writer.Write("x", -1).ok());
}

TEST(RingTest, OnlySealedMemoryOfTheRightSizeIsOpened) {
  UniqueFd plain(::memfd_create("test", MFD_ALLOW_SEALING));
  ASSERT_EQ(::ftruncate(plain.get(), 8192), 0);
  EXPECT_FALSE(RingMemory::Open(UniqueFd(::dup(plain.get()))).ok());
  ASSERT_EQ(::fcntl(plain.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), 0);
  EXPECT_FALSE(RingMemory::Open(UniqueFd(::dup(plain.get()))).ok());  // zeros are no ring
  UniqueFd small(::memfd_create("test", MFD_ALLOW_SEALING));
  ASSERT_EQ(::ftruncate(small.get(), 100), 0);
  ASSERT_EQ(::fcntl(small.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), 0);
  EXPECT_FALSE(RingMemory::Open(std::move(small)).ok());
  EXPECT_FALSE(RingMemory::Open(UniqueFd(::eventfd(0, 0))).ok());
  EXPECT_FALSE(RingMemory::Create(5000).ok());
  auto memory = RingMemory::Create(4096);
  ASSERT_TRUE(memory.ok());
  EXPECT_NE(::ftruncate(memory->fd(), 4096), 0);
}

}  // namespace
}  // namespace quire
