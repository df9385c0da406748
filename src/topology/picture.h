// Topology as text for a terminal.
#pragma once

#include <string>

#include "topology/topology.h"

namespace quire {

// The host, its nodes with the GPUs near them, the matrix of `nvidia-smi topo -m`, and the measured
// figures where there are some. At most 100 columns up to 8 GPUs. `color`: with terminal escapes.
std::string TopologyPicture(const Topology& topology, bool color);

}  // namespace quire
