// Facts about launches that host code decides by.
#pragma once

namespace quire::cuda {

// Whether kernels may start before their predecessors are done: the kernels that the current device
// runs were compiled for Hopper or later, so that WaitForPrevious() waits. Asked once a process.
bool LaunchesOverlap();

}  // namespace quire::cuda
