#include "topology/nvidia_smi.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace quire {
namespace {

Topology Read(const std::string& text) {
  const auto topology = TopologyFromNvidiaSmi(text, "topo.txt");
  EXPECT_TRUE(topology) << topology.error().message;
  return topology ? *topology : Topology();
}

std::string FaultOf(const std::string& text) {
  const auto topology = TopologyFromNvidiaSmi(text, "topo.txt");
  return topology ? "it reads" : topology.error().message;
}

constexpr const char* kLegend =
    "\nLegend:\n\n  X    = Self\n  SYS  = Connection traversing PCIe as well as the SMP "
    "interconnect between NUMA nodes (e.g., QPI/UPI)\n  NV#  = Connection traversing a bonded set "
    "of # NVLinks\n";

// Drivers of 550 and later: tabs, an underlined header, GPU NUMA ID.
TEST(NvidiaSmi, NewDriver) {
  const Topology topology =
      Read(std::string("\t\x1b[4mGPU0\tGPU1\tCPU Affinity\tNUMA Affinity\tGPU NUMA ID\x1b[0m\n"
                       "GPU0\t X \tSYS\t0-15,32-47\t0\t\tN/A\n"
                       "GPU1\tSYS\t X \t16-31,48-63\t1\t\tN/A\n") +
           kLegend);
  ASSERT_EQ(topology.gpus.size(), 2u);
  EXPECT_EQ(topology.gpus[0].cpu_affinity, "0-15,32-47");
  EXPECT_EQ(topology.gpus[1].numa_node, 1);
  ASSERT_EQ(topology.pairs.size(), 1u);
  EXPECT_EQ(topology.pairs[0].link, LinkKind::kSys);
  EXPECT_FALSE(topology.pairs[0].driver_claims_peer.has_value());
  ASSERT_EQ(topology.nodes.size(), 2u);
  EXPECT_EQ(topology.nodes[1].cpus, "16-31,48-63");
}

// Network cards between the GPUs and the affinities; the tabs became blanks in somebody's report.
TEST(NvidiaSmi, NetworkCardsAndBlanks) {
  const Topology topology = Read(
      "        GPU0    GPU1    GPU2    GPU3    NIC0    NIC1    CPU Affinity    NUMA Affinity   GPU "
      "NUMA ID\n"
      "GPU0     X      NV18    NV18    NV18    PIX     NODE    0-23,96-119     0               "
      "N/A\n"
      "GPU1    NV18     X      NV18    NV18    NODE    PIX     0-23,96-119     0               "
      "N/A\n"
      "GPU2    NV18    NV18     X      NV18    SYS     SYS     48-71,144-167   2               "
      "N/A\n"
      "GPU3    NV18    NV18    NV18     X      SYS     SYS     48-71,144-167   2               "
      "N/A\n"
      "NIC0    PIX     NODE    SYS     SYS      X      NODE\n"
      "NIC1    NODE    PIX     SYS     SYS     NODE     X \n\nNIC Legend:\n\n  NIC0: mlx5_0\n");
  ASSERT_EQ(topology.gpus.size(), 4u);
  EXPECT_EQ(topology.pairs.size(), 6u);
  EXPECT_EQ(topology.Pair(0, 3)->num_nvlinks, 18);
  EXPECT_EQ(topology.gpus[3].numa_node, 2);
  EXPECT_EQ(topology.gpus[3].cpu_affinity, "48-71,144-167");
  EXPECT_TRUE(topology.gpus[0].nvswitch);
}

// Before 2019: cards by their names, no NUMA column; bridged pairs; SOC for SYS.
TEST(NvidiaSmi, OldDriver) {
  const Topology topology = Read(
      "\tGPU0\tGPU1\tGPU2\tmlx5_0\tCPU Affinity\n"
      "GPU0\t X \tNV2\tSOC\tPHB\t0-13,28-41\n"
      "GPU1\tNV2\t X \tSOC\tPHB\t0-13,28-41\n"
      "GPU2\tSOC\tSOC\t X \tSOC\t14-27,42-55\n"
      "mlx5_0\tPHB\tPHB\tSOC\t X \t\n");
  ASSERT_EQ(topology.gpus.size(), 3u);
  EXPECT_EQ(topology.Pair(0, 1)->link, LinkKind::kNvLink);
  EXPECT_EQ(topology.Pair(0, 2)->link, LinkKind::kSys);
  EXPECT_EQ(topology.gpus[2].cpu_affinity, "14-27,42-55");
  EXPECT_EQ(topology.gpus[2].numa_node, -1);
  EXPECT_EQ(topology.gpus[0].num_nvlinks, 2);
  EXPECT_FALSE(topology.gpus[0].nvswitch);
}

TEST(NvidiaSmi, OneGpuAndWhatSurroundsIt) {
  const Topology topology = Read(
      "PyTorch version: 2.4.0\nGPU 0: NVIDIA GeForce RTX 4090 (UUID: GPU-12ab)\r\n"
      "GPU Topology:\n\tGPU0\tCPU Affinity\tNUMA Affinity\tGPU NUMA ID\r\n"
      "GPU0\t X \t\t\t\tN/A\r\n");
  ASSERT_EQ(topology.gpus.size(), 1u);
  EXPECT_EQ(topology.gpus[0].name, "NVIDIA GeForce RTX 4090");
  EXPECT_EQ(topology.gpus[0].uuid, "GPU-12ab");
  EXPECT_EQ(topology.gpus[0].cpu_affinity, "");
  EXPECT_EQ(topology.gpus[0].numa_node, -1);
  EXPECT_TRUE(topology.nodes.empty());
}

// The matrix of `nvidia-smi topo -p2p r` behind it is another one.
TEST(NvidiaSmi, TakesTheFirstMatrix) {
  const Topology topology = Read(
      "\tGPU0\tGPU1\tCPU Affinity\tNUMA Affinity\nGPU0\t X \tPHB\t0-7\t0-1\n"
      "GPU1\tPHB\t X \t0-7\t0-1\n\n \tGPU0\tGPU1\t\n GPU0\tX\tGNS\t\n GPU1\tGNS\tX\t\n");
  EXPECT_EQ(topology.Pair(0, 1)->link, LinkKind::kPhb);
  EXPECT_EQ(topology.gpus[0].numa_node, -1);  // near to two nodes
}

TEST(NvidiaSmi, RefusesWithLine) {
  EXPECT_EQ(FaultOf("hello\n"),
            "topo.txt: neither a topology of quire topo nor a matrix of nvidia-smi topo -m");
  const std::string header = "\tGPU0\tGPU1\tCPU Affinity\n";
  EXPECT_EQ(FaultOf(header + "GPU0\t X \n"),
            "topo.txt: line 2: GPU0 has 1 links, the header has 2 columns");
  EXPECT_EQ(FaultOf(header + "GPU0\t X \tFOO\t0-3\n"),
            "topo.txt: line 2: \"FOO\" is no kind of link (X, NV#, PIX, PXB, PHB, NODE, SYS)");
  EXPECT_EQ(FaultOf(header + "GPU0\t X \tNV0\t0-3\n"),
            "topo.txt: line 2: \"NV0\" is no kind of link (X, NV#, PIX, PXB, PHB, NODE, SYS)");
  EXPECT_EQ(FaultOf(header + "GPU0\tPIX\t X \t0-3\n"),
            "topo.txt: line 2: GPU0: X is not in its own column");
  EXPECT_EQ(FaultOf(header + "GPU0\t X \tPIX\t0-3\n"), "topo.txt: the matrix has no row of GPU1");
  EXPECT_EQ(FaultOf(header + "GPU0\t X \tPIX\t0-3\nGPU0\t X \tPIX\t0-3\n"),
            "topo.txt: line 3: GPU0 is there twice");
  EXPECT_EQ(FaultOf(header + "GPU0\t X \tPIX\t0-3\nGPU1\tSYS\t X \t0-3\n"),
            "topo.txt: GPU0 and GPU1 are linked otherwise than back");
}

TEST(NvidiaSmi, SurvivesBrokenText) {
  const std::string text =
      "\tGPU0\tGPU1\tNIC0\tCPU Affinity\tNUMA Affinity\nGPU0\t X \tNV4\tPIX\t0-7\t0\nGPU1\tNV4\t X "
      "\tPIX\t0-7\t0\nGPU 0: a (UUID: b)\n";
  for (std::size_t at = 0; at < text.size(); ++at) {
    for (const char c : {'\t', '\n', 'G', '9', '-', '\x1b', '\0', '\xff'}) {
      std::string broken = text;
      broken[at] = c;
      (void)TopologyFromNvidiaSmi(broken, "x").ok();
    }
    (void)TopologyFromNvidiaSmi(text.substr(at), "x").ok();
  }
}

}  // namespace
}  // namespace quire
