// ProbeTopology: what this host says of itself without touching a GPU's memory: /proc, /sys and,
// where the driver is there, NVML (opened at run time).
#pragma once

#include <filesystem>

#include "topology/nvml.h"
#include "topology/topology.h"

namespace quire {

// Never fails: what cannot be found out is left unknown and said in notes.
Topology ProbeTopology();

// The same of a host whose /proc and /sys lie below `root`, and with an NVML of the caller's, for
// tests.
Topology ProbeTopology(const std::filesystem::path& root, Result<NvmlApi> nvml);

}  // namespace quire
