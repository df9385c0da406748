// Facts about launches that host code decides by.
#pragma once

namespace quire::cuda {

// Whether kernels may start before their predecessors are done: the kernels that the current device
// runs were compiled for Hopper or later, so that WaitForPrevious() waits. Asked once a process.
bool LaunchesOverlap();

// Of the current device; asked once a process.
int NumMultiprocessors();

}  // namespace quire::cuda
