#include "ipc/ring.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cerrno>
#include <cstring>
#include <new>
#include <string>
#include <utility>

namespace quire {

// The head of the shared memory. Positions count bytes since the beginning and never wrap in
// practice; each is written by one side only. A sleeper sets its flag and then looks once more; the
// other side publishes its position and then looks at the flag. Both are sequentially consistent,
// so one of them sees the other.
struct RingHeader {
  std::uint64_t magic;
  alignas(64) std::atomic<std::uint64_t> head;  // bytes written
  alignas(64) std::atomic<std::uint64_t> tail;  // bytes read
  alignas(64) std::atomic<std::uint32_t> reader_sleeps;
  alignas(64) std::atomic<std::uint32_t> writer_sleeps;
};

namespace {

constexpr std::uint64_t kRingMagic = 0x31474e4952455155;  // "UQERING1"
constexpr std::size_t kHeaderBytes = 4096;
constexpr std::size_t kMinCapacity = 4096;
constexpr std::size_t kMaxCapacity = std::size_t{1} << 30;
constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

static_assert(sizeof(RingHeader) <= kHeaderBytes);
static_assert(std::atomic<std::uint64_t>::is_always_lock_free &&
              std::atomic<std::uint32_t>::is_always_lock_free);

Error Fault(const std::string& what) { return {ErrorKind::kInternal, what, "", ""}; }
Error SystemFault(const char* what) {
  return Fault(std::string(what) + ": " + std::strerror(errno));
}

bool GoodCapacity(std::size_t capacity) {
  return std::has_single_bit(capacity) && capacity >= kMinCapacity && capacity <= kMaxCapacity;
}

void Ring(int bell) {
  const std::uint64_t one = 1;
  // Can only fail when the counter is full, and then the other side is going to wake anyway.
  [[maybe_unused]] const auto written = ::write(bell, &one, sizeof(one));
}

void Silence(int bell) {
  std::uint64_t count = 0;
  [[maybe_unused]] const auto got = ::read(bell, &count, sizeof(count));
}

}  // namespace

RingMemory::RingMemory(UniqueFd fd, RingHeader* header, std::size_t capacity)
    : fd_(std::move(fd)), header_(header), capacity_(capacity) {}

RingMemory::RingMemory(RingMemory&& other) noexcept
    : fd_(std::move(other.fd_)),
      header_(std::exchange(other.header_, nullptr)),
      capacity_(other.capacity_) {}

RingMemory::~RingMemory() {
  if (header_ != nullptr) ::munmap(header_, kHeaderBytes + capacity_);
}

unsigned char* RingMemory::data() const {
  return reinterpret_cast<unsigned char*>(header_) + kHeaderBytes;
}

Result<RingMemory> RingMemory::Map(UniqueFd fd, std::size_t capacity) {
  void* base =
      ::mmap(nullptr, kHeaderBytes + capacity, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (base == MAP_FAILED) return SystemFault("cannot map the ring");
  return RingMemory(std::move(fd), static_cast<RingHeader*>(base), capacity);
}

Result<RingMemory> RingMemory::Create(std::size_t capacity) {
  if (!GoodCapacity(capacity)) return Fault("the ring's size is no power of two in range");
  UniqueFd fd(::memfd_create("quire-ring", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd.valid()) return SystemFault("cannot create the ring's memory");
  if (::fchmod(fd.get(), S_IRUSR | S_IWUSR) != 0 ||
      ::ftruncate(fd.get(), static_cast<off_t>(kHeaderBytes + capacity)) != 0 ||
      ::fcntl(fd.get(), F_ADD_SEALS, kSeals) != 0) {
    return SystemFault("cannot prepare the ring's memory");
  }
  auto memory = Map(std::move(fd), capacity);
  if (memory) new (memory->header_) RingHeader{kRingMagic, {0}, {0}, {0}, {0}};
  return memory;
}

Result<RingMemory> RingMemory::Open(UniqueFd fd) {
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return SystemFault("cannot open the ring");
  const int seals = ::fcntl(fd.get(), F_GET_SEALS);
  // Without the seals the other side could shrink the file under the mapping.
  if (seals < 0 || (seals & kSeals) != kSeals) return Fault("the ring's memory is not sealed");
  const auto size = static_cast<std::size_t>(std::max<off_t>(info.st_size, 0));
  if (size <= kHeaderBytes || !GoodCapacity(size - kHeaderBytes)) {
    return Fault("the ring's memory has a wrong size");
  }
  auto memory = Map(std::move(fd), size - kHeaderBytes);
  if (memory && memory->header_->magic != kRingMagic) return Fault("the memory is no ring");
  return memory;
}

RingWriter::RingWriter(const RingMemory& memory, RingBells bells)
    : header_(memory.header()), data_(memory.data()), capacity_(memory.capacity()), bells_(bells) {}

Result<std::size_t> RingWriter::Space() const {
  const std::uint64_t used = head_ - header_->tail.load();
  if (used > capacity_) return Fault("the ring's reader is broken");
  return capacity_ - static_cast<std::size_t>(used);
}

void RingWriter::Copy(std::string_view bytes) {
  const std::size_t at = static_cast<std::size_t>(head_) & (capacity_ - 1);
  const std::size_t first = std::min(bytes.size(), capacity_ - at);
  std::memcpy(data_ + at, bytes.data(), first);
  if (first < bytes.size()) std::memcpy(data_, bytes.data() + first, bytes.size() - first);
  head_ += bytes.size();
}

Status RingWriter::Write(std::string_view bytes, int peer) {
  while (!bytes.empty()) {
    const auto space = Space();
    if (!space) return space.error();
    if (*space == 0) {
      QUIRE_RETURN_IF_ERROR(WaitForSpace(peer));
      continue;
    }
    const std::size_t count = std::min(*space, bytes.size());
    Copy(bytes.substr(0, count));
    bytes.remove_prefix(count);
    header_->head.store(head_);
    if (header_->reader_sleeps.load() != 0 && header_->reader_sleeps.exchange(0) != 0) {
      Ring(bells_.doorbell);
    }
  }
  return {};
}

Status RingWriter::WaitForSpace(int peer) {
  header_->writer_sleeps.store(1);
  const auto space = Space();
  if (!space) return space.error();
  bool gone = false;
  if (*space == 0) {
    pollfd fds[2] = {{bells_.space, POLLIN, 0}, {peer, 0, 0}};
    const int ready = ::poll(fds, 2, -1);
    if (ready < 0 && errno != EINTR) return SystemFault("cannot wait for the ring");
    gone = ready > 0 && fds[1].revents != 0;
  }
  header_->writer_sleeps.store(0);
  Silence(bells_.space);
  if (gone) return Error{ErrorKind::kUnavailable, "the ring's reader is gone", "", ""};
  return {};
}

RingReader::RingReader(const RingMemory& memory, RingBells bells)
    : header_(memory.header()), data_(memory.data()), capacity_(memory.capacity()), bells_(bells) {}

Result<std::size_t> RingReader::Read(char* out, std::size_t size) {
  const std::uint64_t available = header_->head.load() - tail_;
  if (available > capacity_) return Fault("the ring's writer is broken");
  const std::size_t count = std::min(static_cast<std::size_t>(available), size);
  if (count == 0) return std::size_t{0};
  const std::size_t at = static_cast<std::size_t>(tail_) & (capacity_ - 1);
  const std::size_t first = std::min(count, capacity_ - at);
  std::memcpy(out, data_ + at, first);
  if (first < count) std::memcpy(out + first, data_, count - first);
  tail_ += count;
  header_->tail.store(tail_);
  if (header_->writer_sleeps.load() != 0 && header_->writer_sleeps.exchange(0) != 0) {
    Ring(bells_.space);
  }
  return count;
}

bool RingReader::PrepareToSleep() {
  header_->reader_sleeps.store(1);
  return header_->head.load() == tail_;
}

void RingReader::WakeUp() {
  header_->reader_sleeps.store(0);
  Silence(bells_.doorbell);
}

}  // namespace quire
