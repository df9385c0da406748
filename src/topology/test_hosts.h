// What the tests of this folder share.
#pragma once

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "topology/advice.h"
#include "topology/dump.h"
#include "topology/nvml.h"

namespace quire {

inline std::string TestFileText(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

inline std::filesystem::path TopologyData() {
  return std::filesystem::path(QUIRE_SOURCE_DIR) / "tests/data/topology";
}

// One of the dumps of tests/data/topology.
inline Topology TestHost(const std::string& name) {
  const std::string file = name + ".json";
  auto topology = TopologyFromText(TestFileText(TopologyData() / file), file);
  return topology ? *topology : Topology();
}

// Shapes of well-known models in 16 bits.
inline ModelNeeds Llama8B() { return {"Llama-3.1-8B", 16060522496, 131072, 32, 32, 8, 8192}; }
inline ModelNeeds Llama70B() { return {"Llama-3.1-70B", 141107412992, 327680, 80, 64, 8, 8192}; }

// A PCI address as NVML tells it.
inline NvmlPciInfo TestPciInfo(unsigned bus) {
  NvmlPciInfo info;
  info.bus = bus;
  return info;
}

}  // namespace quire
