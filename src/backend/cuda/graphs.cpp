#include "backend/cuda/graphs.h"

#include "backend/cuda/device.h"

namespace quire::cuda {

GraphCache::~GraphCache() {
  for (const auto& [key, entry] : entries_)
    if (entry.graph != nullptr) cudaGraphExecDestroy(entry.graph);
}

void GraphCache::Run(std::uint64_t key, const std::function<void()>& launch, cudaStream_t stream) {
  Entry& entry = entries_[key];
  if (!entry.warm) {
    launch();
    entry.warm = true;
    return;
  }
  if (entry.graph == nullptr) {
    cudaGraph_t recorded = nullptr;
    Check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "graph capture");
    launch();
    Check(cudaStreamEndCapture(stream, &recorded), "graph capture");
    Check(cudaGraphInstantiate(&entry.graph, recorded, 0), "graph instantiation");
    cudaGraphDestroy(recorded);
  }
  Check(cudaGraphLaunch(entry.graph, stream), "graph launch");
}

}  // namespace quire::cuda
