// What a host's owner should look into, found in its topology.
#pragma once

#include <string>
#include <vector>

#include "topology/advice_split.h"

namespace quire {

// Sentences on the links, nodes and memory of the GPUs that the advice uses, and on the ones that
// it leaves out.
std::vector<std::string> TopologyWarnings(const Topology& topology, const GpuGroup& used,
                                          const ParallelSplit& split);

}  // namespace quire
