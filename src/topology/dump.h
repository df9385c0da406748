// Topology as a file, so that a host can be looked at elsewhere: `quire topo --dump FILE`,
// `--from`.
#pragma once

#include <string>
#include <string_view>

#include "base/json.h"
#include "base/result.h"
#include "topology/topology.h"

namespace quire {

// What is unknown or not measured is left out.
Json ToJson(const Topology& topology);
// The same as text: a line for each GPU, node and pair, so that people can read and compare it.
std::string TopologyDump(const Topology& topology);

// A dump of ours (JSON with "quire_topology": 1), or the text of `nvidia-smi topo -m`, with that of
// `nvidia-smi -L` before or behind it for the names. A malformed one is a kConfig error that names
// file and field.
Result<Topology> TopologyFromText(std::string_view text, const std::string& file);

}  // namespace quire
