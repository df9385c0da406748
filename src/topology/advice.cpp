#include "topology/advice.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "topology/advice_split.h"
#include "topology/advice_warnings.h"
#include "topology/picture_parts.h"

namespace quire {
namespace {

// Of a GPU's usable memory in advice for no certain model: the rest is KV cache.
constexpr double kWeightShare = 0.8;
constexpr int kFewSequences = 4;

std::string Thousands(std::int64_t number) {
  std::string digits = std::to_string(number);
  for (std::size_t at = digits.size(); at > 3; at -= 3) digits.insert(at - 3, ",");
  return digits;
}

std::string FlagsOf(const ParallelAdvice& advice) {
  std::string flags;
  for (const auto& [name, value] :
       {std::pair("-tp", advice.tensor), std::pair("-pp", advice.pipeline),
        std::pair("-dp", advice.data)}) {
    if (value > 1) flags += fmt::format("{}{} {}", flags.empty() ? "" : " ", name, value);
  }
  return flags.empty() ? "(no flag: one GPU)" : flags;
}

// "18 NVLinks, 478 GB/s each way", "SYS without peer access", "PIX, measured at 21.3 GB/s".
std::string LinkSentence(const Topology& topology, int a, int b) {
  const GpuPair* pair = topology.Pair(a, b);
  const GpuFacts* gpu = topology.Gpu(a);
  if (pair == nullptr || gpu == nullptr) return "an unknown link";
  std::string text = LinkKindName(pair->link);
  if (pair->link == LinkKind::kUnknown) text = "an unknown link";
  if (pair->link == LinkKind::kNvLink)
    text = fmt::format("{} NVLink{}", pair->num_nvlinks, pair->num_nvlinks == 1 ? "" : "s");
  if (LacksPeer(*pair)) text += " without peer access";
  if (pair->copy_gb_per_s)
    return text + fmt::format(", measured at {:.1f} GB/s", *pair->copy_gb_per_s);
  if (pair->link == LinkKind::kNvLink && gpu->nvlink_gb_per_s > 0)
    return text + fmt::format(", {:.0f} GB/s each way", gpu->nvlink_gb_per_s * pair->num_nvlinks);
  const double can = gpu->pcie.TheoreticalGbPerS();
  if (LacksPeer(*pair))
    return text + (can > 0 ? fmt::format(" (host memory, below {:.1f} GB/s)", can) : "");
  if (pair->link != LinkKind::kNvLink && pair->link != LinkKind::kUnknown && can > 0)
    return text + fmt::format(", PCIe of {:.1f} GB/s each way at most", can);
  return text;
}

GpuGroup LargestIsland(const Topology& topology, const GpuGroup& group, bool nvlink_only) {
  std::vector<GpuGroup> islands = Islands(topology, group, nvlink_only);
  return *std::max_element(
      islands.begin(), islands.end(),
      [](const GpuGroup& a, const GpuGroup& b) { return a.size() < b.size(); });
}

std::string GpusText(const std::vector<int>& gpus) {
  return fmt::format("GPU{} {}", gpus.size() == 1 ? "" : "s", ListOfGpus(gpus));
}

std::string SumsText(const ModelNeeds& model) {
  if (model.num_layers == 0) return "twice a layer";
  return fmt::format("{} times a token ({} layers)", 2 * model.num_layers, model.num_layers);
}

// Why, in the order in which a reader asks.
class Reasons {
 public:
  Reasons(const Topology& topology, const GpuGroup& group, const ModelNeeds& model,
          ParallelAdvice& advice)
      : topology_(topology), group_(group), model_(model), advice_(advice) {}

  void OfMemory();
  void OfOneGpuEach();
  void OfSplit();
  void OfAnyModel();
  void OfMissingMemory();

 private:
  void Add(std::string sentence) { advice_.reasons.push_back(std::move(sentence)); }
  void OfHeads();
  void OfPipeline();
  void OfTensorForLatency();

  const Topology& topology_;
  const GpuGroup& group_;
  const ModelNeeds& model_;
  ParallelAdvice& advice_;
};

void Reasons::OfMemory() {
  const int ranks = advice_.tensor * advice_.pipeline;
  const MemoryFit fit = FitOf(model_, UsableBytes(group_), advice_.tensor, advice_.pipeline);
  const GpuFacts& gpu = *group_.front();
  std::string sentence = fmt::format(
      "Weights take {:.1f} GiB{}; of a GPU's {:.1f} GiB ({}) {:.1f} are used, and {:.1f} of them "
      "stay for KV cache",
      GiB(fit.weight_bytes), ranks > 1 ? fmt::format(" on each of {} GPUs", ranks) : "",
      GiB(gpu.memory_bytes), ShortGpuName(gpu), GiB(UsableBytes(group_)), GiB(fit.room_bytes));
  if (fit.kv_tokens > 0) {
    sentence += fmt::format(": {} tokens", Thousands(fit.kv_tokens));
    if (model_.context_tokens > 0) {
      const std::int64_t sequences = fit.kv_tokens / model_.context_tokens;
      sentence += fmt::format(", {} sequence{} of {}", Thousands(sequences),
                              sequences == 1 ? "" : "s", Thousands(model_.context_tokens));
    }
    if (advice_.data > 1) sentence += " for each engine";
  }
  Add(sentence + ".");
  if (model_.context_tokens > 0 && fit.kv_tokens > 0 &&
      fit.kv_tokens / model_.context_tokens < kFewSequences)
    Add("That is little room: few long requests run at once, and more GPUs an engine or weights of "
        "fewer bits would serve more of them.");
}

void Reasons::OfTensorForLatency() {
  const GpuGroup nvlink = LargestIsland(topology_, group_, true);
  if (nvlink.size() > 1) {
    const int size = static_cast<int>(nvlink.size());
    Add(
        fmt::format("For the latency of few users rather than for throughput, -tp {}{} over NVLink "
                    "({}): each GPU reads {} of the weights for a token.",
                    size == 2 ? 2 : std::min(size, 4), size > 4 ? fmt::format(" or {}", size) : "",
                    LinkSentence(topology_, nvlink[0]->index, nvlink[1]->index),
                    size == 2 ? "half" : "a share"));
    return;
  }
  const GpuGroup near = LargestIsland(topology_, group_, false);
  const int a = near[0]->index, b = near.size() > 1 ? near[1]->index : group_[1]->index;
  Add(
      fmt::format("-tp would sum over the GPUs {}, and {} meet over {}: it may shorten a lone "
                  "user's wait, but costs throughput.",
                  SumsText(model_), GpusText({a, b}), LinkSentence(topology_, a, b)));
}

void Reasons::OfOneGpuEach() {
  if (group_.size() == 1) {
    Add("One GPU holds it all, and nothing has to be split.");
    return;
  }
  Add(fmt::format(
      "One GPU holds it all, so {} engines with a GPU each serve about {} times as much "
      "as one: no token waits for another GPU.",
      advice_.data, advice_.data));
  OfTensorForLatency();
  Add("Without -dp one GPU serves, and the others stay untouched.");
}

void Reasons::OfHeads() {
  const int tensor = advice_.tensor, kv = model_.num_kv_heads;
  if (kv == 0) return;
  if (tensor > kv) {
    Add(
        fmt::format("{} GPUs share {} KV heads: each head is held by {} of them, so KV cache does "
                    "not grow beyond -tp {}.",
                    tensor, kv, (tensor + kv - 1) / kv, kv));
  } else if (kv % tensor != 0) {
    const int larger = kv % tensor, most = kv / tensor + 1;
    Add(fmt::format(
        "{} KV heads over {} GPUs are {} on {} of them and {} on {}: uneven, and the "
        "larger share sets the pace ({:.0f} % of an even split's).",
        kv, tensor, most, larger, most - 1, tensor - larger, 100.0 * kv / tensor / most));
  }
}

void Reasons::OfPipeline() {
  // Where one stage meets the next.
  const auto tensor = static_cast<std::size_t>(advice_.tensor);
  const int a = advice_.gpus[tensor - 1], b = advice_.gpus[tensor];
  const GpuPair* pair = topology_.Pair(a, b);
  const bool through_host = pair == nullptr || LacksPeer(*pair) || pair->link == LinkKind::kSys;
  Add(
      fmt::format("GPUs {} and {} meet over {}. Tensor parallelism sums over its GPUs {}{}; a "
                  "pipeline hands over once a stage.",
                  a, b, LinkSentence(topology_, a, b), SumsText(model_),
                  through_host ? ", too often for that way" : ""));
  if (advice_.tensor == 1) {
    Add(
        fmt::format("With many requests all {} stages are busy at once. For a lone user -tp {} may "
                    "still be faster, as each GPU reads its part of the weights at the same time: "
                    "measure both.",
                    advice_.pipeline, advice_.pipeline));
  }
}

void Reasons::OfSplit() {
  const int ranks = advice_.tensor * advice_.pipeline;
  const auto split_gpus = static_cast<std::size_t>(ranks);
  Add(fmt::format("It takes several GPUs: {} for each engine{}.", ranks,
                  advice_.data > 1 ? fmt::format(", {} engines", advice_.data) : ""));
  if (advice_.tensor > 1) {
    const int a = advice_.gpus[0], b = advice_.gpus[1];
    Add(fmt::format("{} meet over {}: fit for the sums of tensor parallelism, two a layer.",
                    GpusText({advice_.gpus.begin(), advice_.gpus.begin() + advice_.tensor}),
                    LinkSentence(topology_, a, b)));
    OfHeads();
  }
  if (advice_.pipeline > 1) OfPipeline();
  if (advice_.data > 1) {
    std::string engines;
    for (std::size_t at = 0; at < advice_.gpus.size(); at += split_gpus) {
      engines += (at == 0 ? "" : "; ") +
                 GpusText({advice_.gpus.begin() + static_cast<std::ptrdiff_t>(at),
                           advice_.gpus.begin() + static_cast<std::ptrdiff_t>(at + split_gpus)});
    }
    Add("The engines: " + engines + ".");
  }
  const std::size_t idle = group_.size() - advice_.gpus.size();
  if (idle > 0)
    Add(fmt::format("{} GPU{} left over for something else.", idle, idle == 1 ? " is" : "s are"));
}

void Reasons::OfAnyModel() {
  const std::int64_t usable = UsableBytes(group_);
  // `fewer`: GPUs that do not hold such models.
  const auto up_to = [&](std::size_t gpus, std::size_t fewer) {
    if (usable == 0)
      return fmt::format("that do not fit {}", fewer == 1 ? "one" : std::to_string(fewer));
    return fmt::format("up to about {:.0f} GiB of weights",
                       kWeightShare * GiB(usable) * static_cast<double>(gpus));
  };
  if (usable == 0) {
    Add("How much memory the GPUs have is not known here.");
    Add(fmt::format("A model that fits one GPU is served best by one engine for each{}.",
                    group_.size() > 1 ? fmt::format(": -dp {}", group_.size()) : ""));
  } else {
    Add(fmt::format(
        "Models {} fit one GPU with room for KV cache{}.", up_to(1, 0),
        group_.size() > 1
            ? fmt::format(": one engine for each GPU, -dp {}, serves most", group_.size())
            : ""));
  }
  if (group_.size() == 1) return;
  const GpuGroup island = LargestIsland(topology_, group_, false);
  const std::size_t size = island.size();
  if (size > 1) {
    Add(fmt::format("Models {}: -tp {}, as {} meet over {}{}.", up_to(size, 1), size,
                    GpusText(IndexesOf(island)),
                    LinkSentence(topology_, island[0]->index, island[1]->index),
                    size > 2 ? "; a smaller -tp where it fits" : ""));
  }
  if (size == group_.size()) return;
  const std::size_t islands = group_.size() / size;
  const auto outside = std::find_if(group_.begin(), group_.end(), [&](const GpuFacts* gpu) {
    return std::find(island.begin(), island.end(), gpu) == island.end();
  });
  Add(fmt::format("Models {}: {}-pp {}, a pipeline, as {} meet over {}.",
                  up_to(islands * size, size), size > 1 ? fmt::format("-tp {} ", size) : "",
                  islands, GpusText({island.front()->index, (*outside)->index}),
                  LinkSentence(topology_, island.front()->index, (*outside)->index)));
}

void Reasons::OfMissingMemory() {
  const int num_gpus = static_cast<int>(group_.size());
  const std::int64_t usable = UsableBytes(group_);
  MemoryFit best;
  int best_tensor = 1;
  for (int tensor = 1; tensor <= num_gpus; ++tensor) {
    if (num_gpus % tensor != 0) continue;
    const MemoryFit fit = FitOf(model_, usable, tensor, num_gpus / tensor);
    if (tensor == 1 || fit.missing_bytes < best.missing_bytes) {
      best = fit;
      best_tensor = tensor;
    }
  }
  Add(fmt::format(
      "Weights take {:.1f} GiB and one sequence of {} tokens {:.1f} GiB of KV cache; {} "
      "offer{} {:.1f} GiB ({:.0f} % of {} memory, at most what is free): {:.1f} GiB are missing.",
      GiB(model_.weight_bytes), Thousands(std::max<std::int64_t>(model_.context_tokens, 1)),
      GiB(model_.kv_bytes_per_token * std::max<std::int64_t>(model_.context_tokens, 1)),
      GpusText(IndexesOf(group_)), num_gpus == 1 ? "s" : "", GiB(usable) * num_gpus,
      100 * kUsableMemory, num_gpus == 1 ? "its" : "their", GiB(best.missing_bytes) * num_gpus));
  if (best.kv_tokens > 0)
    Add(fmt::format("It would fit with sequences of at most {} tokens (--max-model-len).",
                    Thousands(best.kv_tokens)));
  for (const auto& [divisor, words] : {std::pair(2, "half"), std::pair(4, "a quarter of")}) {
    ModelNeeds smaller = model_;
    smaller.weight_bytes /= divisor;
    if (!FitOf(smaller, usable, best_tensor, num_gpus / best_tensor).fits) continue;
    Add(fmt::format("Weights of {} the size would fit: {} bits where these have 16.", words,
                    16 / divisor));
    break;
  }
}

ParallelAdvice CpuAdvice(const Topology& topology, const ModelNeeds& model) {
  ParallelAdvice advice;
  advice.flags = "--device cpu";
  advice.reasons.push_back(
      fmt::format("There is no GPU: the CPU back end computes{}.",
                  topology.num_cores > 0 ? fmt::format(" on {} cores", topology.num_cores) : ""));
  const auto usable =
      static_cast<std::int64_t>(kUsableMemory * static_cast<double>(topology.memory_bytes));
  if (model.weight_bytes > 0 && usable > 0) {
    const MemoryFit fit = FitOf(model, usable, 1, 1);
    advice.fits = fit.fits;
    if (fit.fits) {
      advice.reasons.push_back(fmt::format(
          "Weights of {:.1f} GiB fit into {:.1f} GiB of memory; each token reads them all, so "
          "memory's speed sets the pace.",
          GiB(model.weight_bytes), GiB(topology.memory_bytes)));
    } else {
      advice.reasons.push_back(fmt::format(
          "Weights of {:.1f} GiB and a sequence's KV cache do not fit into {:.0f} % of {:.1f} GiB "
          "of memory: {:.1f} GiB are missing.",
          GiB(model.weight_bytes), 100 * kUsableMemory, GiB(topology.memory_bytes),
          GiB(fit.missing_bytes)));
    }
  }
  const auto with_memory =
      std::count_if(topology.nodes.begin(), topology.nodes.end(),
                    [](const NumaNode& node) { return node.memory_bytes > 0; });
  if (with_memory > 1) {
    advice.warnings.push_back(fmt::format(
        "The memory lies on {} NUMA nodes, and far memory is slower: one engine on each node, each "
        "under numactl --cpunodebind=N --membind=N, keeps reads near.",
        with_memory));
  }
  return advice;
}

struct GroupChoice {
  const GpuGroup* group = nullptr;
  std::optional<ParallelSplit> split;
};

// The kind of GPU that holds the model, then the one with the most memory.
GroupChoice ChooseGroup(const Topology& topology, const std::vector<GpuGroup>& groups,
                        const ModelNeeds& model) {
  GroupChoice best;
  for (const GpuGroup& group : groups) {
    const auto split = SplitOver(topology, group, model);
    const auto total = [](const GpuGroup& g) {
      return UsableBytes(g) * static_cast<std::int64_t>(g.size());
    };
    const bool better =
        best.group == nullptr || split.has_value() > best.split.has_value() ||
        (split.has_value() == best.split.has_value() && total(group) > total(*best.group));
    if (better) best = {&group, split};
  }
  return best;
}

void AddList(std::string& text, const char* title, const std::vector<std::string>& sentences) {
  if (sentences.empty()) return;
  text += fmt::format("  {}\n", title);
  for (const std::string& sentence : sentences) text += Wrapped(sentence, "    - ", "      ");
}

}  // namespace

ParallelAdvice AdviseParallel(const Topology& topology, const ModelNeeds& model) {
  ModelNeeds known = model;
  // Far above any model's, so that their products stay in range.
  constexpr std::int64_t kMost = std::int64_t{1} << 30;
  known.weight_bytes = std::min(known.weight_bytes, kMost << 20);
  known.kv_bytes_per_token = std::clamp<std::int64_t>(known.kv_bytes_per_token, 0, kMost);
  known.context_tokens = std::clamp<std::int64_t>(known.context_tokens, 0, kMost);
  if (topology.gpus.empty()) return CpuAdvice(topology, known);
  const std::vector<GpuGroup> groups = GroupsOfOneKind(topology);
  // Without the model's or the GPUs' memory any model is taken to fit one GPU.
  const bool any_model = model.weight_bytes <= 0 ||
                         std::all_of(groups.begin(), groups.end(), [](const GpuGroup& group) {
                           return group.front()->memory_bytes == 0;
                         });
  if (any_model) known.weight_bytes = known.kv_bytes_per_token = 0;
  const GroupChoice choice = ChooseGroup(topology, groups, known);
  ParallelAdvice advice;
  advice.fits = choice.split.has_value();
  const ParallelSplit split = choice.split.value_or(ParallelSplit());
  advice.tensor = split.tensor;
  advice.pipeline = split.pipeline;
  advice.data = split.data;
  advice.gpus = split.gpus;
  Reasons reasons(topology, *choice.group, known, advice);
  if (!advice.fits) {
    reasons.OfMissingMemory();
  } else {
    advice.flags = FlagsOf(advice);
    if (any_model) {
      reasons.OfAnyModel();
    } else {
      reasons.OfMemory();
      if (split.tensor * split.pipeline == 1) {
        reasons.OfOneGpuEach();
      } else {
        reasons.OfSplit();
      }
    }
  }
  advice.warnings = TopologyWarnings(topology, *choice.group, split);
  return advice;
}

std::string AdviceText(const ParallelAdvice& advice, const ModelNeeds& model) {
  std::string text;
  if (model.name.empty()) {
    text = "Advice for any model (--model FOLDER: for that one)\n";
  } else {
    std::string facts;
    if (model.weight_bytes > 0)
      facts += fmt::format(": {:.1f} GiB of weights", GiB(model.weight_bytes));
    if (model.kv_bytes_per_token > 0)
      facts += fmt::format(", {:.0f} KiB of KV cache a token",
                           static_cast<double>(model.kv_bytes_per_token) / 1024);
    if (model.context_tokens > 0)
      facts += fmt::format(", sequences of {}", Thousands(model.context_tokens));
    text = Wrapped("Advice for " + model.name + facts, "", "  ");
  }
  const std::string name = model.name.empty() ? "MODEL" : model.name;
  if (!advice.fits) {
    text += "  It does not fit this host.\n";
  } else {
    const bool plain = advice.flags.empty() || advice.flags[0] == '(';
    const std::string gpus = advice.gpus.empty() ? "" : "   (" + GpusText(advice.gpus) + ")";
    text += fmt::format("  quire serve {}{}{}{}\n", name, plain ? "" : " ",
                        plain ? "" : advice.flags, gpus);
  }
  AddList(text, "Why", advice.reasons);
  AddList(text, "Mind", advice.warnings);
  return text;
}

}  // namespace quire
