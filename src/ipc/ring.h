// A one-way byte stream between two processes through shared memory: one writer, one reader, no
// system call while both are awake. Either side may be broken: what it wrote into the memory is
// checked before use.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/result.h"
#include "ipc/unique_fd.h"

namespace quire {

struct RingHeader;

// Owns the mapping of a sealed memfd that holds a ring's indices and its bytes.
class RingMemory {
 public:
  // `capacity` in bytes, a power of two from 4 KiB to 1 GiB.
  static Result<RingMemory> Create(std::size_t capacity);
  // The other process's side of what Create made. The size is taken from the file, which is sealed.
  static Result<RingMemory> Open(UniqueFd fd);

  RingMemory(RingMemory&& other) noexcept;
  RingMemory& operator=(RingMemory&& other) = delete;
  ~RingMemory();

  int fd() const { return fd_.get(); }
  std::size_t capacity() const { return capacity_; }
  RingHeader* header() const { return header_; }
  unsigned char* data() const;

 private:
  RingMemory(UniqueFd fd, RingHeader* header, std::size_t capacity);
  static Result<RingMemory> Map(UniqueFd fd, std::size_t capacity);

  UniqueFd fd_;
  RingHeader* header_ = nullptr;
  std::size_t capacity_ = 0;
};

// The two eventfds of a ring. Each is rung only when the other side sleeps.
struct RingBells {
  int doorbell = -1;  // writer → reader: there are bytes
  int space = -1;     // reader → writer: there is room
};

// Owns the writing position; the memory and the bells must outlive it. One thread at a time.
class RingWriter {
 public:
  RingWriter(const RingMemory& memory, RingBells bells);

  // Writes all bytes; sleeps while the ring is full, without spinning. `peer` is a connected socket
  // to the reader: when it hangs up, or when the indices make no sense, this ends with an error.
  // −1: nobody.
  Status Write(std::string_view bytes, int peer);

 private:
  Result<std::size_t> Space() const;
  Status WaitForSpace(int peer);
  void Copy(std::string_view bytes);

  RingHeader* header_;
  unsigned char* data_;
  std::size_t capacity_;
  RingBells bells_;
  std::uint64_t head_ = 0;  // ours; the one in shared memory is only told
};

// Owns the reading position; the memory and the bells must outlive it. One thread at a time.
class RingReader {
 public:
  RingReader(const RingMemory& memory, RingBells bells);

  // Up to `size` bytes into `out`; 0: the ring is empty. An error: the indices make no sense, and
  // the ring must not be used any more.
  Result<std::size_t> Read(char* out, std::size_t size);

  // To sleep: PrepareToSleep(), and where it says true, poll the doorbell for input; then WakeUp(),
  // also where it said false or the poll ended for another reason.
  bool PrepareToSleep();
  void WakeUp();

 private:
  RingHeader* header_;
  const unsigned char* data_;
  std::size_t capacity_;
  RingBells bells_;
  std::uint64_t tail_ = 0;
};

}  // namespace quire
