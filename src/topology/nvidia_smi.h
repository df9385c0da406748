// Reads the text of `nvidia-smi topo -m`.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "topology/topology.h"

namespace quire {

// Every generation of the driver: with and without NIC columns, CPU and NUMA affinity, GPU NUMA ID;
// with tabs or with blanks; other text around it is skipped. kConfig errors name file and line.
Result<Topology> TopologyFromNvidiaSmi(std::string_view text, const std::string& file);

}  // namespace quire
