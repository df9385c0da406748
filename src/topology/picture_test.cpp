#include "topology/picture.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

#include "topology/advice.h"
#include "topology/picture_parts.h"
#include "topology/test_hosts.h"

namespace quire {
namespace {

std::string Everything(const Topology& topology) {
  std::string text = TopologyPicture(topology, false);
  for (const ModelNeeds& model : {ModelNeeds(), Llama8B(), Llama70B()})
    text += "\n" + AdviceText(AdviseParallel(topology, model), model);
  return text;
}

std::string WithoutEscapes(const std::string& text) {
  std::string plain;
  bool escape = false;
  for (const char c : text) {
    if (c == '\x1b') escape = true;
    if (!escape) plain += c;
    if (c == 'm') escape = false;
  }
  return plain;
}

std::size_t WidestLine(const std::string& text) {
  std::size_t widest = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    widest = std::max(widest, TextColumns(std::string_view(text).substr(at, end - at)));
    at = end + 1;
  }
  return widest;
}

class GoldenHosts : public testing::TestWithParam<const char*> {};

TEST_P(GoldenHosts, PictureAndAdvice) {
  const Topology topology = TestHost(GetParam());
  ASSERT_FALSE(topology.source.empty()) << "the dump does not read";
  const std::string text = Everything(topology);
  const auto golden = TopologyData() / (std::string(GetParam()) + ".golden.txt");
  if (std::getenv("QUIRE_UPDATE_GOLDEN") != nullptr) std::ofstream(golden) << text;
  EXPECT_EQ(text, TestFileText(golden)) << "QUIRE_UPDATE_GOLDEN=1 rewrites it";
  EXPECT_LE(WidestLine(text), kPictureColumns);
  EXPECT_EQ(text.find(" \n"), std::string::npos) << "blanks at the end of a line";
}

TEST_P(GoldenHosts, ColourChangesNoText) {
  const Topology topology = TestHost(GetParam());
  const std::string plain = TopologyPicture(topology, false);
  EXPECT_EQ(plain.find('\x1b'), std::string::npos);
  const std::string coloured = TopologyPicture(topology, true);
  EXPECT_NE(coloured, plain);
  EXPECT_EQ(WidestLine(coloured), WidestLine(WithoutEscapes(coloured)));
  // Blanks in colour may stay at a line's end, where nobody sees them.
  std::string stripped = WithoutEscapes(coloured);
  for (std::size_t at = 0; (at = stripped.find(" \n", at)) != std::string::npos;) {
    stripped.erase(at, 1);
    if (at > 0) --at;
  }
  EXPECT_EQ(stripped, plain);
}

INSTANTIATE_TEST_SUITE_P(Hosts, GoldenHosts,
                         testing::Values("two_nodes_sys", "four_pcie_4090", "eight_nvswitch_h200",
                                         "one_gpu", "no_gpu"),
                         [](const auto& host) { return std::string(host.param); });

TEST(Picture, StaysNarrowWhateverTheNames) {
  Topology topology = TestHost("eight_nvswitch_h200");
  const std::string length(300, 'n');
  topology.hostname = topology.cpu = topology.source = topology.kernel = length;
  for (NumaNode& node : topology.nodes) {
    node.cpus = "0-3,8-11,16-19,24-27,32-35,40-43,48-51,56-59,64-67,72-75,80-83,88-91";
    node.distances.assign(40, 255);
  }
  for (GpuFacts& gpu : topology.gpus) {
    gpu.name = "NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition";
    gpu.cpu_affinity = topology.nodes[0].cpus;
    gpu.pcie.width = 8;
  }
  for (HostCopies& copies : topology.host_copies) copies.all_to_host = 123456;
  std::string text = TopologyPicture(topology, false);
  // A word alone may be longer than a line; the names of host and CPU are such words here.
  for (std::size_t at = 0; (at = text.find("nnnn", at)) != std::string::npos;) text.erase(at, 4);
  EXPECT_LE(WidestLine(text), kPictureColumns);
}

TEST(Picture, SaysWhatIsNotKnown) {
  Topology topology;
  topology.gpus.resize(2);
  topology.gpus[1].index = 1;
  const std::string text = TopologyPicture(topology, false);
  EXPECT_NE(text.find("NUMA node is not known"), std::string::npos) << text;
  EXPECT_NE(text.find("GPU0    X     ?"), std::string::npos) << text;
}

TEST(PictureParts, CutsAndWrapsByColumns) {
  EXPECT_EQ(TextColumns("└─ \x1b[1mx…\x1b[0m"), 5u);
  EXPECT_EQ(Shortened("ein-zwei", 5), "ein-…");
  EXPECT_EQ(Shortened("µµµ", 3), "µµµ");
  EXPECT_EQ(Centered("ab", 5), " ab  ");
  EXPECT_EQ(PadLeft("µ", 3), "  µ");
  EXPECT_EQ(Wrapped("a b", "- ", "  "), "- a b\n");
  const std::string long_word(98, 'x');
  EXPECT_EQ(Wrapped("a " + long_word, "- ", "  "), "- a\n  " + long_word + "\n");
  EXPECT_EQ(ListOfGpus({0, 1, 2, 3}), "0-3");
  EXPECT_EQ(ListOfGpus({0, 2, 5}), "0, 2 and 5");
  EXPECT_EQ(ListOfGpus({7}), "7");
}

}  // namespace
}  // namespace quire
