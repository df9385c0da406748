// The parts of a probe: each adds what it finds out, and notes what it cannot.
#pragma once

#include <filesystem>

#include "topology/nvml.h"
#include "topology/topology.h"

namespace quire {

// CPU, memory, NUMA nodes, kernel, driver version, and what a container is allowed of them.
void ProbeHost(const std::filesystem::path& root, Topology& topology);

// The GPUs as NVML tells them, and how they are linked. False: it does not, and the notes say why.
bool ProbeNvml(const NvmlSession& nvml, Topology& topology);

// NVIDIA's GPUs on the PCI bus, for hosts without a working driver.
void ProbePciGpus(const std::filesystem::path& root, Topology& topology);
// For the GPUs that are known already: the NUMA node and the cores of their PCI devices.
void ProbePciAffinity(const std::filesystem::path& root, Topology& topology);

// How two devices meet, from their real paths below /sys/devices. `same_node`: of one NUMA node.
LinkKind LinkOfPciPaths(const std::filesystem::path& a, const std::filesystem::path& b,
                        bool same_node);

}  // namespace quire
