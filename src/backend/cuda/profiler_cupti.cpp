// The profiler on CUPTI's activity records.
#include <cuda_runtime_api.h>
#include <cupti.h>
#include <cxxabi.h>
#include <dlfcn.h>
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <type_traits>
#include <unordered_map>
#include <utility>

#include "backend/cuda/device.h"
#include "backend/cuda/profiler.h"

namespace quire::cuda {
namespace {

constexpr std::size_t kBufferBytes = std::size_t{4} << 20;
constexpr std::size_t kBufferAlignment = 8;

// Records grow at their end alone: these older ones are the beginning of what any CUPTI since 12.0
// writes.
using KernelRecord = CUpti_ActivityKernel9;
using CopyRecord = CUpti_ActivityMemcpy5;
using FillRecord = CUpti_ActivityMemset4;
using CallRecord = CUpti_ActivityAPI;

constexpr std::array kRecorded = {CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL, CUPTI_ACTIVITY_KIND_MEMCPY,
                                  CUPTI_ACTIVITY_KIND_MEMSET, CUPTI_ACTIVITY_KIND_RUNTIME};

// Calls that are made all the time and do nothing.
constexpr std::array kIgnoredCalls = {CUPTI_RUNTIME_TRACE_CBID_cudaGetLastError_v3020,
                                      CUPTI_RUNTIME_TRACE_CBID_cudaPeekAtLastError_v3020,
                                      CUPTI_RUNTIME_TRACE_CBID_cudaGetDevice_v3020,
                                      CUPTI_RUNTIME_TRACE_CBID_cudaSetDevice_v3020};

// The functions of the library that are used. It stays open: its hooks do.
struct Cupti {
  decltype(&cuptiActivityRegisterTimestampCallback) register_timestamp = nullptr;
  decltype(&cuptiActivityRegisterCallbacks) register_callbacks = nullptr;
  decltype(&cuptiActivityEnable) enable = nullptr;
  decltype(&cuptiActivityDisable) disable = nullptr;
  decltype(&cuptiActivityFlushAll) flush = nullptr;
  decltype(&cuptiActivityGetNextRecord) next_record = nullptr;
  decltype(&cuptiActivityGetNumDroppedRecords) num_dropped = nullptr;
  decltype(&cuptiGetCallbackName) callback_name = nullptr;
  decltype(&cuptiGetResultString) result_string = nullptr;
};

// Owns what was recorded. CUPTI's callbacks carry no pointer of ours, so there is one recorder, as
// there is one CUPTI in a process.
class Recorder {
 public:
  Status Start();
  DeviceProfile Stop();
  void Take(CUcontext context, std::uint32_t stream, std::uint8_t* buffer, std::size_t bytes);

 private:
  Status Open();
  Status Checked(CUptiResult result, const char* what) const;
  void TakeRecord(const CUpti_Activity& record);
  void TakeKernel(const KernelRecord& record);
  void TakeCopy(const CopyRecord& record);
  void TakeFill(const FillRecord& record);
  void TakeCall(const CallRecord& record);
  void Add(const DeviceActivity& activity);
  std::uint32_t NameOfKernel(const char* name);
  std::uint32_t NameOfCall(CUpti_CallbackId call);

  bool open_ = false;  // on the thread that starts and stops
  Cupti cupti_;
  std::mutex mutex_;  // of what follows: CUPTI has a thread of its own
  DeviceProfile profile_;
  std::unordered_map<const char*, std::uint32_t> kernel_names_;
  std::unordered_map<CUpti_CallbackId, std::uint32_t> call_names_;
};

Recorder& TheRecorder() {
  // Never destroyed: CUPTI's thread may call while the process ends.
  static Recorder& recorder = *new Recorder;
  return recorder;
}

std::uint64_t CUPTIAPI Timestamp() {
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                        std::chrono::steady_clock::now().time_since_epoch())
                                        .count());
}

void CUPTIAPI RequestBuffer(std::uint8_t** buffer, std::size_t* size, std::size_t* max_records) {
  *buffer = static_cast<std::uint8_t*>(std::aligned_alloc(kBufferAlignment, kBufferBytes));
  *size = *buffer == nullptr ? 0 : kBufferBytes;  // without one CUPTI drops the records
  *max_records = 0;
}

void CUPTIAPI CompleteBuffer(CUcontext context, std::uint32_t stream, std::uint8_t* buffer,
                             std::size_t, std::size_t valid_bytes) {
  TheRecorder().Take(context, stream, buffer, valid_bytes);
  std::free(buffer);
}

std::string LibraryName() { return fmt::format("libcupti.so.{}", CUPTI_API_VERSION / 10000); }

Status Recorder::Checked(CUptiResult result, const char* what) const {
  if (result == CUPTI_SUCCESS) return {};
  const char* text = nullptr;
  cupti_.result_string(result, &text);
  return Error{ErrorKind::kDevice,
               fmt::format("CUPTI: {}: {}", what, text == nullptr ? "unknown error" : text), "",
               ""};
}

Status Recorder::Open() {
  const std::string name = LibraryName();
  void* library = nullptr;
  for (const char* folder : {"", "/usr/local/cuda/lib64/", "/usr/local/cuda/extras/CUPTI/lib64/"}) {
    if (library == nullptr) library = ::dlopen((folder + name).c_str(), RTLD_NOW | RTLD_LOCAL);
  }
  if (library == nullptr) {
    return Error{ErrorKind::kDevice,
                 fmt::format("{} is not there: install the CUDA toolkit's CUPTI (cuda-cupti, "
                             "nvidia-cuda-cupti), or name its folder in LD_LIBRARY_PATH",
                             name),
                 "", ""};
  }
  bool complete = true;
  const auto find = [&](auto& function, const char* symbol) {
    function =
        reinterpret_cast<std::remove_reference_t<decltype(function)>>(::dlsym(library, symbol));
    complete = complete && function != nullptr;
  };
  find(cupti_.register_timestamp, "cuptiActivityRegisterTimestampCallback");
  find(cupti_.register_callbacks, "cuptiActivityRegisterCallbacks");
  find(cupti_.enable, "cuptiActivityEnable");
  find(cupti_.disable, "cuptiActivityDisable");
  find(cupti_.flush, "cuptiActivityFlushAll");
  find(cupti_.next_record, "cuptiActivityGetNextRecord");
  find(cupti_.num_dropped, "cuptiActivityGetNumDroppedRecords");
  find(cupti_.callback_name, "cuptiGetCallbackName");
  find(cupti_.result_string, "cuptiGetResultString");
  if (!complete)
    return Error{ErrorKind::kDevice, name + " lacks functions that are needed", "", ""};
  QUIRE_RETURN_IF_ERROR(Checked(cupti_.register_timestamp(Timestamp), "its clock"));
  QUIRE_RETURN_IF_ERROR(
      Checked(cupti_.register_callbacks(RequestBuffer, CompleteBuffer), "its callbacks"));
  open_ = true;
  return {};
}

Status Recorder::Start() {
  if (!open_) QUIRE_RETURN_IF_ERROR(Open());
  {
    const std::lock_guard lock(mutex_);
    profile_ = {};
    kernel_names_.clear();
    call_names_.clear();
  }
  for (const CUpti_ActivityKind kind : kRecorded)
    QUIRE_RETURN_IF_ERROR(Checked(cupti_.enable(kind), "recording"));
  return {};
}

DeviceProfile Recorder::Stop() {
  if (!open_) return {};
  Check(cudaDeviceSynchronize(), "the device's work");
  for (const CUpti_ActivityKind kind : kRecorded) cupti_.disable(kind);
  cupti_.flush(CUPTI_ACTIVITY_FLAG_FLUSH_FORCED);
  const std::lock_guard lock(mutex_);
  return std::exchange(profile_, {});
}

void Recorder::Take(CUcontext context, std::uint32_t stream, std::uint8_t* buffer,
                    std::size_t bytes) {
  const std::lock_guard lock(mutex_);
  CUpti_Activity* record = nullptr;
  while (cupti_.next_record(buffer, bytes, &record) == CUPTI_SUCCESS) TakeRecord(*record);
  std::size_t dropped = 0;
  if (cupti_.num_dropped(context, stream, &dropped) == CUPTI_SUCCESS) profile_.num_lost += dropped;
}

void Recorder::TakeRecord(const CUpti_Activity& record) {
  const void* whole = &record;
  switch (record.kind) {
    case CUPTI_ACTIVITY_KIND_KERNEL:
    case CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL:
      TakeKernel(*static_cast<const KernelRecord*>(whole));
      break;
    case CUPTI_ACTIVITY_KIND_MEMCPY:
      TakeCopy(*static_cast<const CopyRecord*>(whole));
      break;
    case CUPTI_ACTIVITY_KIND_MEMSET:
      TakeFill(*static_cast<const FillRecord*>(whole));
      break;
    case CUPTI_ACTIVITY_KIND_RUNTIME:
      TakeCall(*static_cast<const CallRecord*>(whole));
      break;
    default:
      break;
  }
}

void Recorder::Add(const DeviceActivity& activity) {
  if (activity.begin_ns == 0 || activity.end_ns < activity.begin_ns) {
    ++profile_.num_lost;  // it has no times
    return;
  }
  profile_.activities.push_back(activity);
}

void Recorder::TakeKernel(const KernelRecord& record) {
  DeviceActivity activity;
  activity.work = DeviceWork::kKernel;
  activity.replayed = record.graphNodeId != 0;
  activity.begin_ns = static_cast<std::int64_t>(record.start);
  activity.end_ns = static_cast<std::int64_t>(record.end);
  activity.name = NameOfKernel(record.name);
  activity.stream = record.streamId;
  activity.call = record.correlationId;
  activity.grid = {record.gridX, record.gridY, record.gridZ};
  activity.block = {record.blockX, record.blockY, record.blockZ};
  activity.registers = record.registersPerThread;
  activity.shared_bytes =
      static_cast<std::uint32_t>(record.staticSharedMemory + record.dynamicSharedMemory);
  Add(activity);
}

CopyDirection DirectionOf(std::uint8_t kind) {
  switch (kind) {
    case CUPTI_ACTIVITY_MEMCPY_KIND_HTOD:
    case CUPTI_ACTIVITY_MEMCPY_KIND_HTOA:
      return CopyDirection::kHostToDevice;
    case CUPTI_ACTIVITY_MEMCPY_KIND_DTOH:
    case CUPTI_ACTIVITY_MEMCPY_KIND_ATOH:
      return CopyDirection::kDeviceToHost;
    case CUPTI_ACTIVITY_MEMCPY_KIND_HTOH:
      return CopyDirection::kHostToHost;
    case CUPTI_ACTIVITY_MEMCPY_KIND_PTOP:
      return CopyDirection::kPeerToPeer;
    default:
      return CopyDirection::kDeviceToDevice;
  }
}

void Recorder::TakeCopy(const CopyRecord& record) {
  DeviceActivity activity;
  activity.work = DeviceWork::kCopy;
  activity.direction = DirectionOf(record.copyKind);
  activity.pageable = record.srcKind == CUPTI_ACTIVITY_MEMORY_KIND_PAGEABLE ||
                      record.dstKind == CUPTI_ACTIVITY_MEMORY_KIND_PAGEABLE;
  activity.replayed = record.graphNodeId != 0;
  activity.begin_ns = static_cast<std::int64_t>(record.start);
  activity.end_ns = static_cast<std::int64_t>(record.end);
  activity.stream = record.streamId;
  activity.call = record.correlationId;
  activity.bytes = record.bytes;
  Add(activity);
}

void Recorder::TakeFill(const FillRecord& record) {
  DeviceActivity activity;
  activity.work = DeviceWork::kFill;
  activity.replayed = record.graphNodeId != 0;
  activity.begin_ns = static_cast<std::int64_t>(record.start);
  activity.end_ns = static_cast<std::int64_t>(record.end);
  activity.stream = record.streamId;
  activity.call = record.correlationId;
  activity.bytes = record.bytes;
  Add(activity);
}

void Recorder::TakeCall(const CallRecord& record) {
  if (std::find(kIgnoredCalls.begin(), kIgnoredCalls.end(), record.cbid) != kIgnoredCalls.end())
    return;
  DeviceCall call;
  call.id = record.correlationId;
  call.name = NameOfCall(record.cbid);
  call.thread = record.threadId;
  call.begin_ns = static_cast<std::int64_t>(record.start);
  call.end_ns = static_cast<std::int64_t>(record.end);
  profile_.calls.push_back(call);
}

// All records of a kernel share one string.
std::uint32_t Recorder::NameOfKernel(const char* name) {
  const auto [at, is_new] =
      kernel_names_.emplace(name, static_cast<std::uint32_t>(profile_.names.size()));
  if (!is_new) return at->second;
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> readable(
      name == nullptr ? nullptr : abi::__cxa_demangle(name, nullptr, nullptr, &status), std::free);
  if (readable != nullptr) {
    profile_.names.emplace_back(readable.get());
  } else {
    profile_.names.emplace_back(name == nullptr ? "?" : name);
  }
  return at->second;
}

std::uint32_t Recorder::NameOfCall(CUpti_CallbackId call) {
  const auto [at, is_new] =
      call_names_.emplace(call, static_cast<std::uint32_t>(profile_.names.size()));
  if (!is_new) return at->second;
  const char* name = nullptr;
  cupti_.callback_name(CUPTI_CB_DOMAIN_RUNTIME_API, call, &name);
  std::string text = name == nullptr ? "?" : name;
  // "cudaLaunchKernel_v7000": the version tells nobody anything.
  if (const std::size_t version = text.rfind("_v"); version != std::string::npos)
    text.resize(version);
  profile_.names.push_back(std::move(text));
  return at->second;
}

}  // namespace

Status StartProfiler() { return TheRecorder().Start(); }

DeviceProfile StopProfiler() { return TheRecorder().Stop(); }

}  // namespace quire::cuda
