#include "topology/advice.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "topology/advice_split.h"
#include "topology/test_hosts.h"

namespace quire {
namespace {

constexpr std::int64_t kGiBytes = std::int64_t{1} << 30;

// A host of equal GPUs, all linked alike.
Topology Host(int num_gpus, double gib, LinkKind link, std::optional<bool> peer = std::nullopt) {
  Topology topology;
  topology.nodes = {{0, "0-31", 100 * kGiBytes, {10}}};
  for (int i = 0; i < num_gpus; ++i) {
    GpuFacts gpu;
    gpu.index = i;
    gpu.name = "NVIDIA Test";
    gpu.memory_bytes = static_cast<std::int64_t>(gib * static_cast<double>(kGiBytes));
    gpu.pcie = {4, 16, 4, 16};
    gpu.numa_node = 0;
    if (link == LinkKind::kNvLink) {
      gpu.num_nvlinks = 4;
      gpu.nvlink_gb_per_s = 25;
    }
    topology.gpus.push_back(gpu);
  }
  for (int a = 0; a < num_gpus; ++a) {
    for (int b = a + 1; b < num_gpus; ++b) {
      GpuPair pair;
      pair.a = a;
      pair.b = b;
      pair.link = link;
      pair.num_nvlinks = link == LinkKind::kNvLink ? 4 : 0;
      pair.driver_claims_peer = peer;
      topology.pairs.push_back(pair);
    }
  }
  return topology;
}

// Islands of that size; what lies between them is `far`.
Topology IslandHost(int num_gpus, int island, double gib, LinkKind near, LinkKind far,
                    std::optional<bool> peer = std::nullopt) {
  Topology topology = Host(num_gpus, gib, near, peer);
  for (GpuPair& pair : topology.pairs) {
    if (pair.a / island == pair.b / island) continue;
    pair.link = far;
    pair.num_nvlinks = 0;
  }
  return topology;
}

ModelNeeds Model(double gib, int kv_heads = 8, int layers = 32) {
  ModelNeeds model = Llama8B();
  model.weight_bytes = static_cast<std::int64_t>(gib * static_cast<double>(kGiBytes));
  model.num_kv_heads = kv_heads;
  model.num_layers = layers;
  return model;
}

struct SplitCase {
  const char* what;
  Topology topology;
  ModelNeeds model;
  const char* flags;  // "" where it does not fit
  std::vector<int> gpus;
};

std::vector<SplitCase> SplitCases() {
  using enum LinkKind;
  Topology measured = Host(2, 48, kSys, true);
  measured.pairs[0].copy_gb_per_s = 21;
  measured.pairs[0].peer_works = true;
  Topology slow = Host(2, 48, kPix, true);
  slow.pairs[0].copy_gb_per_s = 3;
  Topology broken = Host(2, 48, kNvLink, true);
  broken.pairs[0].peer_works = false;
  Topology mixed = Host(3, 24, kPhb, true);
  mixed.gpus[1].name = "NVIDIA Other";
  Topology busy = Host(2, 24, kPix, true);
  busy.gpus[0].memory_free_bytes = 8 * kGiBytes;
  busy.gpus[1].memory_free_bytes = 23 * kGiBytes;
  const Topology bridged = IslandHost(4, 2, 24, kNvLink, kPhb, true);
  const char* one = "(no flag: one GPU)";
  return {
      {"one GPU holds it", Host(1, 24, kPix), Model(15), one, {0}},
      {"each of two holds it", Host(2, 24, kSys), Model(15), "-dp 2", {0, 1}},
      {"each of eight holds it",
       Host(8, 140, kNvLink),
       Model(15),
       "-dp 8",
       {0, 1, 2, 3, 4, 5, 6, 7}},
      {"weights fit, KV cache does not", Host(1, 24, kPix), Model(21), "", {}},
      {"so two take it", Host(2, 24, kPix, true), Model(21), "-tp 2", {0, 1}},
      {"NVLink", Host(2, 48, kNvLink), Model(65), "-tp 2", {0, 1}},
      {"NVLink whose test failed", broken, Model(65), "-pp 2", {0, 1}},
      {"PIX", Host(2, 48, kPix, true), Model(65), "-tp 2", {0, 1}},
      {"PIX, peer access not known", Host(2, 48, kPix), Model(65), "-tp 2", {0, 1}},
      {"PIX without peer access", Host(2, 48, kPix, false), Model(65), "-pp 2", {0, 1}},
      {"PIX, measured slow", slow, Model(65), "-pp 2", {0, 1}},
      {"PXB", Host(2, 48, kPxb, true), Model(65), "-tp 2", {0, 1}},
      {"PHB with peer access", Host(2, 48, kPhb, true), Model(65), "-tp 2", {0, 1}},
      {"PHB without", Host(2, 48, kPhb, false), Model(65), "-pp 2", {0, 1}},
      {"NODE with peer access", Host(2, 48, kNode, true), Model(65), "-tp 2", {0, 1}},
      {"NODE, peer access not known", Host(2, 48, kNode), Model(65), "-pp 2", {0, 1}},
      {"SYS", Host(2, 48, kSys, true), Model(65), "-pp 2", {0, 1}},
      {"SYS, measured fast", measured, Model(65), "-tp 2", {0, 1}},
      {"unknown link", Host(2, 48, kUnknown, true), Model(65), "-pp 2", {0, 1}},
      {"three GPUs, uneven heads", Host(3, 24, kPix, true), Model(50), "-tp 3", {0, 1, 2}},
      {"two would do, but three leave none idle",
       Host(3, 24, kPix, true),
       Model(30),
       "-tp 3",
       {0, 1, 2}},
      {"three of eight would do, four leave none idle",
       Host(8, 24, kNvLink),
       Model(50),
       "-tp 4 -dp 2",
       {0, 1, 2, 3, 4, 5, 6, 7}},
      {"two of five, one is left over",
       Host(5, 24, kPix, true),
       Model(30),
       "-tp 2 -dp 2",
       {0, 1, 2, 3}},
      {"two sockets, islands of four, fits one",
       IslandHost(8, 4, 24, kPix, kSys, true),
       Model(60),
       "-tp 4 -dp 2",
       {0, 1, 2, 3, 4, 5, 6, 7}},
      {"two sockets, islands of four, takes both",
       IslandHost(8, 4, 24, kPix, kSys, true),
       Model(120),
       "-tp 4 -pp 2",
       {0, 1, 2, 3, 4, 5, 6, 7}},
      {"bridged pairs", bridged, Model(30), "-tp 2 -dp 2", {0, 1, 2, 3}},
      {"bridged pairs, all four", bridged, Model(70), "-tp 4", {0, 1, 2, 3}},
      {"four without peer access", Host(4, 24, kNode, false), Model(60), "-pp 4", {0, 1, 2, 3}},
      {"more stages than layers", Host(4, 24, kSys), Model(60, 8, 2), "", {}},
      {"of another kind", mixed, Model(30), "-tp 2", {0, 2}},
      {"in use already", busy, Model(10), "-tp 2", {0, 1}},
      {"too large", Host(4, 24, kPix, true), Model(131), "", {}},
  };
}

TEST(Advice, SplitsAsTheHostAllows) {
  for (const SplitCase& test : SplitCases()) {
    const ParallelAdvice advice = AdviseParallel(test.topology, test.model);
    EXPECT_EQ(advice.flags, test.flags) << test.what << "\n" << AdviceText(advice, test.model);
    EXPECT_EQ(advice.fits, *test.flags != '\0') << test.what;
    EXPECT_EQ(advice.gpus, test.gpus) << test.what;
    EXPECT_FALSE(advice.reasons.empty()) << test.what;
    if (advice.fits) {
      EXPECT_EQ(advice.gpus.size(),
                static_cast<std::size_t>(advice.tensor * advice.pipeline * advice.data))
          << test.what;
    }
  }
}

struct WordsCase {
  const char* what;
  std::function<void(Topology&)> change;
  std::vector<const char*> words;   // in reasons or warnings
  std::vector<const char*> absent;  // from both
};

HostCopies Copies(int gpu, double near, Measured far, Measured all) {
  HostCopies copies;
  copies.gpu = gpu;
  copies.near_to_device = near;
  copies.far_to_device = far;
  copies.all_to_device = all;
  return copies;
}

void ExpectWords(const WordsCase& test, Topology topology, const ModelNeeds& model) {
  test.change(topology);
  const ParallelAdvice advice = AdviseParallel(topology, model);
  std::string text;
  for (const auto* list : {&advice.reasons, &advice.warnings}) {
    for (const std::string& sentence : *list) text += sentence + "\n";
  }
  for (const char* word : test.words)
    EXPECT_NE(text.find(word), std::string::npos) << test.what << ": " << word << "\n" << text;
  for (const char* word : test.absent)
    EXPECT_EQ(text.find(word), std::string::npos) << test.what << ": " << word << "\n" << text;
}

TEST(Advice, WarnsOfSlowLinks) {
  const auto nothing = [](Topology&) {};
  const std::vector<WordsCase> cases = {
      {"a healthy host", nothing, {}, {"lanes", "slow", "node", "in use", "kind"}},
      {"an idle link", [](Topology& t) { t.gpus[0].pcie.generation = 1; }, {}, {"PCIe 1.0"}},
      {"a busy link that is slow",
       [](Topology& t) {
         t.gpus[0].pcie = {3, 16, 5, 16};
         t.gpus[0].power_watts = 300;
         t.gpus[0].power_limit_watts = 400;
       },
       {"GPU 0's link runs at PCIe 3.0 under load, it can 5.0."},
       {}},
      {"few lanes",
       [](Topology& t) {
         t.gpus[1].pcie = {4, 4, 4, 16};
       },
       {"GPU 1 runs on 4 of 16 PCIe lanes"},
       {}},
      {"a narrow slot",
       [](Topology& t) {
         t.gpus[1].pcie = {4, 4, 4, 4};
       },
       {"GPU 1 has 4 PCIe lanes only, 7.9 GB/s at most"},
       {}},
      {"slow under load",
       [](Topology& t) { t.host_copies = {Copies(0, 6.5, {}, {})}; },
       {"GPU 0 copies 6.5 GB/s from host memory under load, its link can 31.5 (PCIe 4.0 x16)."},
       {}},
      {"fast enough under load",
       [](Topology& t) { t.host_copies = {Copies(0, 25.0, 24.0, 24.0)}; },
       {},
       {"under load", "far NUMA", "share"}},
      {"shared lanes",
       [](Topology& t) {
         t.host_copies = {Copies(0, 25, {}, 12.4), Copies(1, 25, {}, 12.6)};
       },
       {"GPUs 0 and 1 share PCIe lanes with others: 12.4 instead of 25.0 GB/s"},
       {}},
      {"a far node",
       [](Topology& t) { t.host_copies = {Copies(1, 25, 14.0, {})}; },
       {"far NUMA node GPU 1 gets 14.0 instead of 25.0 GB/s"},
       {}},
  };
  for (const WordsCase& test : cases)
    ExpectWords(test, Host(2, 24, LinkKind::kPix, true), Model(10));
}

TEST(Advice, WarnsOfPeersNodesAndUse) {
  const std::vector<WordsCase> cases = {
      {"no peer access",
       [](Topology& t) { t.pairs[0].driver_claims_peer = false; },
       {"No peer access between GPUs 0 and 1: what they exchange"},
       {"GeForce"}},
      {"GeForce",
       [](Topology& t) {
         for (GpuFacts& gpu : t.gpus) gpu.name = "NVIDIA GeForce RTX 4090";
         t.pairs[0].driver_claims_peer = false;
       },
       {"gives GeForce cards none"},
       {}},
      {"the driver claims too much",
       [](Topology& t) {
         t.pairs[0].peer_works = false;
         t.pairs[0].peer_failure = "late write";
       },
       {"driver claims peer access between GPUs 0 and 1, but", "(late write)", "IOMMU"},
       {}},
      {"in use",
       [](Topology& t) { t.gpus[0].memory_free_bytes = 12 * kGiBytes; },
       {"GPU 0 has 12.0 of 24.0 GiB in use already."},
       {}},
      {"a node without memory",
       [](Topology& t) {
         t.nodes.push_back({1, "32-63", 0, {}});
         t.gpus[1].numa_node = 1;
       },
       {"NUMA node 1 beside GPU 1 has no memory"},
       {}},
      {"a node that is not known",
       [](Topology& t) {
         t.nodes.push_back({1, "32-63", kGiBytes, {}});
         t.gpus[0].numa_node = -1;
       },
       {"NUMA node of GPU 0 is not known"},
       {}},
      {"another kind",
       [](Topology& t) { t.gpus[1].name = "NVIDIA Old"; },
       {"GPU 1 (Old, 24.0 GiB) is of another kind"},
       {}},
  };
  for (const WordsCase& test : cases)
    ExpectWords(test, Host(2, 24, LinkKind::kPix, true), Model(10));
}

TEST(Advice, GivesItsReasonsInNumbers) {
  const auto nothing = [](Topology&) {};
  ExpectWords({"one GPU each",
               nothing,
               {"Weights take 10.0 GiB", "24.0 GiB", "95,027 tokens, 11 sequences of 8,192",
                "2 engines with a GPU each", "-tp 2 over NVLink (4 NVLinks, 100 GB/s each way)"},
               {}},
              Host(2, 24, LinkKind::kNvLink), Model(10));
  ExpectWords({"no NVLink",
               nothing,
               {"-tp would sum over the GPUs 64 times a token (32 layers)", "SYS"},
               {"-tp 2 over"}},
              Host(2, 24, LinkKind::kSys, true), Model(10));
  ExpectWords({"uneven heads",
               nothing,
               {"8 KV heads over 3 GPUs are 3 on 2 of them and 2 on 1", "89 % of an even"},
               {}},
              Host(3, 24, LinkKind::kPix, true), Model(50));
  ExpectWords({"fewer heads than GPUs",
               nothing,
               {"4 GPUs share 2 KV heads: each head is held by 2 of them"},
               {}},
              Host(4, 24, LinkKind::kNvLink), Model(70, 2));
  ExpectWords({"a pipeline across sockets",
               [](Topology& t) {
                 t.nodes.push_back({1, "32-63", kGiBytes, {}});
                 t.gpus[1].numa_node = 1;
               },
               {"meet over SYS without peer access (host memory, below 31.5 GB/s)",
                "too often for that way", "a pipeline hands over once a stage", "measure both",
                "GPUs 0 and 1 lie on NUMA nodes 0 and 1"},
               {}},
              Host(2, 48, LinkKind::kSys, false), Model(65));
  ExpectWords({"what is missing",
               nothing,
               {"22.8 GiB are missing", "Weights of half the size would fit: 8 bits"},
               {"--max-model-len"}},
              Host(2, 24, LinkKind::kPix, true), Model(65));
  ExpectWords({"a shorter context would do",
               nothing,
               {"sequences of at most 4,915 tokens (--max-model-len)"},
               {}},
              Host(1, 24, LinkKind::kPix), Model(21));
  ExpectWords({"little room", nothing, {"13,107 tokens, 1 sequence of", "little room"}, {}},
              Host(1, 24, LinkKind::kPix), Model(20));
  ExpectWords(
      {"peer access not known", nothing, {"Whether peer access works between GPUs 0 and 1"}, {}},
      Host(2, 48, LinkKind::kPix), Model(65));
}

TEST(Advice, NeedsNoModel) {
  const ModelNeeds any;
  const ParallelAdvice advice =
      AdviseParallel(IslandHost(8, 4, 24, LinkKind::kPix, LinkKind::kSys, true), any);
  EXPECT_EQ(advice.flags, "-dp 8");
  ASSERT_EQ(advice.reasons.size(), 3u);
  EXPECT_NE(advice.reasons[0].find("up to about 17 GiB of weights fit one GPU"), std::string::npos);
  EXPECT_NE(advice.reasons[1].find("up to about 69 GiB of weights: -tp 4, as GPUs 0-3"),
            std::string::npos)
      << advice.reasons[1];
  EXPECT_NE(advice.reasons[2].find("up to about 138 GiB of weights: -tp 4 -pp 2"),
            std::string::npos);
}

// As of nvidia-smi's matrix, which tells no memory.
TEST(Advice, NeedsNoMemory) {
  const ParallelAdvice advice = AdviseParallel(Host(2, 0, LinkKind::kNvLink), Model(15));
  EXPECT_TRUE(advice.fits);
  EXPECT_EQ(advice.flags, "-dp 2");
  EXPECT_NE(advice.reasons[0].find("not known"), std::string::npos);
}

TEST(Advice, WithoutGpuItIsTheCpu) {
  Topology topology;
  topology.num_cores = 64;
  topology.memory_bytes = 100 * kGiBytes;
  ParallelAdvice advice = AdviseParallel(topology, Model(15));
  EXPECT_EQ(advice.flags, "--device cpu");
  EXPECT_TRUE(advice.fits);
  EXPECT_TRUE(advice.gpus.empty());
  advice = AdviseParallel(topology, Model(200));
  EXPECT_FALSE(advice.fits);
  EXPECT_NE(AdviceText(advice, Model(200)).find("does not fit this host"), std::string::npos);
  EXPECT_NE(advice.reasons[1].find("111.0 GiB are missing"), std::string::npos)
      << advice.reasons[1];
}

TEST(Advice, SurvivesAbsurdNumbers) {
  ModelNeeds model = Model(1);
  for (const std::int64_t number :
       {std::int64_t{-5}, std::int64_t{0}, std::int64_t{1}, std::int64_t{1} << 62}) {
    model.kv_bytes_per_token = model.context_tokens = number;
    model.weight_bytes = number;
    for (const int num_gpus : {0, 1, 2, 7}) {
      const Topology topology = Host(num_gpus, 24, LinkKind::kPix);
      EXPECT_FALSE(AdviceText(AdviseParallel(topology, model), model).empty());
    }
  }
  Topology lonely = Host(3, 24, LinkKind::kPix);
  lonely.pairs.clear();
  EXPECT_EQ(AdviseParallel(lonely, Model(50)).flags, "-pp 3");
}

TEST(AdviceSplit, IslandsAreCliques) {
  Topology topology = IslandHost(4, 2, 24, LinkKind::kNvLink, LinkKind::kSys);
  const GpuGroup group = GroupsOfOneKind(topology)[0];
  ASSERT_EQ(Islands(topology, group, true).size(), 2u);
  EXPECT_EQ(IndexesOf(Islands(topology, group, true)[1]), (std::vector<int>{2, 3}));
  topology.pairs[0].link = LinkKind::kSys;  // 0 and 1
  EXPECT_EQ(Islands(topology, group, false).size(), 3u);
}

TEST(AdviceText, NamesTheCommand) {
  const Topology topology = Host(2, 24, LinkKind::kNvLink);
  const std::string text = AdviceText(AdviseParallel(topology, Model(30)), Model(30));
  EXPECT_NE(text.find("  quire serve Llama-3.1-8B -tp 2   (GPUs 0 and 1)\n"), std::string::npos)
      << text;
}

}  // namespace
}  // namespace quire
