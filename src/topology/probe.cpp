#include "topology/probe.h"

#include <utility>

#include "topology/probe_parts.h"

namespace quire {

Topology ProbeTopology() { return ProbeTopology("/", LoadNvmlApi()); }

Topology ProbeTopology(const std::filesystem::path& root, Result<NvmlApi> nvml) {
  Topology topology;
  topology.source = "this host";
  ProbeHost(root, topology);
  std::string why;
  if (nvml) {
    const auto session = NvmlSession::Open(std::move(*nvml));
    if (session && ProbeNvml(**session, topology)) {
      ProbePciAffinity(root, topology);
      return topology;
    }
    if (!session) why = session.error().message;
  } else {
    why = nvml.error().message;
  }
  ProbePciGpus(root, topology);
  // A host without NVIDIA's hardware lacks nothing.
  if (!topology.gpus.empty()) {
    if (!why.empty()) topology.notes.push_back(why);
    topology.notes.push_back("the GPUs are told by the PCI bus alone: no memory, no NVLink");
  }
  return topology;
}

}  // namespace quire
