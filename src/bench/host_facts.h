// What a host and a model folder are, as tables and reports show them.
#pragma once

#include <filesystem>

#include "bench/run_summary.h"
#include "topology/topology.h"

namespace quire {

HostFacts HostFactsOf(const Topology& topology);

// Dtype or quantization and size of the weights as they are stored, where `folder` is a model's;
// what `subject` has already stays.
void DescribeModelFolder(const std::filesystem::path& folder, RunSubject& subject);

}  // namespace quire
