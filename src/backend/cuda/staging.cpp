#include "backend/cuda/staging.h"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <thread>
#include <vector>

#include "backend/cuda/device.h"

namespace quire::cuda {
namespace {

constexpr std::size_t kAlignment = 256;
constexpr std::size_t kParallelBytes = std::size_t{1} << 20;  // below, one thread is as fast
constexpr unsigned kMaxThreads = 8;  // one core copies at a fifth of the bus

}  // namespace

// Owns threads that share one large memcpy.
class CopyThreads {
 public:
  explicit CopyThreads(unsigned count) : parts_(count) {
    for (unsigned i = 1; i < count; ++i) threads_.emplace_back([this, i] { Loop(i); });
  }
  ~CopyThreads() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }
  CopyThreads(const CopyThreads&) = delete;
  CopyThreads& operator=(const CopyThreads&) = delete;

  void Copy(std::byte* to, const std::byte* from, std::size_t bytes) {
    if (bytes < kParallelBytes || parts_ == 1) {
      std::memcpy(to, from, bytes);
      return;
    }
    {
      const std::lock_guard lock(mutex_);
      to_ = to;
      from_ = from;
      bytes_ = bytes;
      left_ = parts_ - 1;
      ++round_;
    }
    wake_.notify_all();
    CopyPart(0);
    std::unique_lock lock(mutex_);
    done_.wait(lock, [this] { return left_ == 0; });
  }

 private:
  void CopyPart(unsigned part) {
    const std::size_t share = bytes_ / parts_;
    const std::size_t begin = share * part;
    const std::size_t size = part + 1 == parts_ ? bytes_ - begin : share;
    std::memcpy(to_ + begin, from_ + begin, size);
  }
  void Loop(unsigned part) {
    std::uint64_t seen = 0;
    std::unique_lock lock(mutex_);
    while (true) {
      wake_.wait(lock, [&] { return stopping_ || round_ != seen; });
      if (stopping_) return;
      seen = round_;
      lock.unlock();
      CopyPart(part);
      lock.lock();
      if (--left_ == 0) done_.notify_one();
    }
  }

  const unsigned parts_;
  std::mutex mutex_;
  std::condition_variable wake_, done_;
  std::byte* to_ = nullptr;
  const std::byte* from_ = nullptr;
  std::size_t bytes_ = 0;
  unsigned left_ = 0;
  std::uint64_t round_ = 0;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

StagingRing::StagingRing()
    : threads_(std::make_unique<CopyThreads>(
          std::clamp(std::thread::hardware_concurrency() / 2, 1U, kMaxThreads))) {}

Result<std::unique_ptr<StagingRing>> StagingRing::Make() {
  std::unique_ptr<StagingRing> ring(new StagingRing);
  void* memory = nullptr;
  if (cudaHostAlloc(&memory, kSliceBytes * kNumSlices, cudaHostAllocDefault) != cudaSuccess) {
    return Error{ErrorKind::kDevice, "CUDA: no pinned host memory for copies to the device", "",
                 ""};
  }
  ring->memory_ = static_cast<std::byte*>(memory);
  for (cudaEvent_t& event : ring->events_)
    Check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "cudaEventCreate");
  return ring;
}

StagingRing::~StagingRing() {
  for (const cudaEvent_t event : events_)
    if (event != nullptr) cudaEventDestroy(event);
  if (memory_ != nullptr) cudaFreeHost(memory_);
}

void StagingRing::NextSlice(cudaStream_t stream) {
  Check(cudaEventRecord(events_[slice_], stream), "cudaEventRecord");
  recorded_[slice_] = true;
  slice_ = (slice_ + 1) % kNumSlices;
  used_ = 0;
  if (recorded_[slice_]) Check(cudaEventSynchronize(events_[slice_]), "a copy to the device");
}

void StagingRing::Copy(const void* host, void* device, std::size_t bytes, cudaStream_t stream) {
  const auto* from = static_cast<const std::byte*>(host);
  auto* to = static_cast<std::byte*>(device);
  while (bytes > 0) {
    const std::size_t room = kSliceBytes - used_;
    // A small piece is not torn for what little room a slice has left.
    if (room == 0 || (room < bytes && bytes <= kSliceBytes / 4)) {
      NextSlice(stream);
      continue;
    }
    const std::size_t size = std::min(room, bytes);
    std::byte* slice = memory_ + slice_ * kSliceBytes + used_;
    threads_->Copy(slice, from, size);
    Check(cudaMemcpyAsync(to, slice, size, cudaMemcpyHostToDevice, stream), "cudaMemcpyAsync");
    used_ = std::min(kSliceBytes, (used_ + size + kAlignment - 1) / kAlignment * kAlignment);
    from += size;
    to += size;
    bytes -= size;
  }
}

}  // namespace quire::cuda
