#include "base/time_slice.h"

#include <linux/sched.h>
#include <linux/types.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

namespace quire {
namespace {

// struct sched_attr of linux/sched/types.h, which glibc's headers clash with. Version 0, 48 bytes.
struct SchedulingAttributes {
  std::uint32_t size = sizeof(SchedulingAttributes);
  std::uint32_t policy = SCHED_NORMAL;
  std::uint64_t flags = 0;
  std::int32_t nice = 0;
  std::uint32_t priority = 0;
  std::uint64_t runtime_ns = 0;  // of SCHED_NORMAL: the slice
  std::uint64_t deadline_ns = 0;
  std::uint64_t period_ns = 0;
};

}  // namespace

void SetTimeSlice(std::chrono::microseconds slice) {
  SchedulingAttributes attributes;
  if (::syscall(SYS_sched_getattr, 0, &attributes, sizeof(attributes), 0) != 0) return;
  if (attributes.policy != SCHED_NORMAL) return;  // whoever chose another policy knows why
  attributes.runtime_ns = static_cast<std::uint64_t>(slice.count()) * 1000;
  (void)::syscall(SYS_sched_setattr, 0, &attributes, 0);
}

}  // namespace quire
