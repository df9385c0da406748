#include "topology/topology.h"

#include <algorithm>
#include <utility>

namespace quire {

const char* LinkKindName(LinkKind kind) {
  switch (kind) {
    case LinkKind::kSelf:
      return "X";
    case LinkKind::kNvLink:
      return "NV";
    case LinkKind::kPix:
      return "PIX";
    case LinkKind::kPxb:
      return "PXB";
    case LinkKind::kPhb:
      return "PHB";
    case LinkKind::kNode:
      return "NODE";
    case LinkKind::kSys:
      return "SYS";
    case LinkKind::kUnknown:
      break;
  }
  return "?";
}

std::optional<LinkKind> LinkKindOf(std::string_view name) {
  for (const LinkKind kind :
       {LinkKind::kSelf, LinkKind::kNvLink, LinkKind::kPix, LinkKind::kPxb, LinkKind::kPhb,
        LinkKind::kNode, LinkKind::kSys, LinkKind::kUnknown}) {
    if (name == LinkKindName(kind)) return kind;
  }
  return std::nullopt;
}

double PcieLink::TheoreticalGbPerS() const {
  // A lane's GB/s: transfers a second × the line code's share (8b/10b, 128b/130b, FLIT 242/256).
  constexpr double kLane[] = {0,
                              0.25,
                              0.5,
                              8.0 / 8 * 128 / 130,
                              16.0 / 8 * 128 / 130,
                              32.0 / 8 * 128 / 130,
                              64.0 / 8 * 242 / 256};
  constexpr int kGenerations = static_cast<int>(std::size(kLane)) - 1;
  return kLane[std::clamp(max_generation, 0, kGenerations)] * std::max(max_width, 0);
}

const GpuPair* Topology::Pair(int a, int b) const {
  if (a > b) std::swap(a, b);
  const auto found = std::find_if(pairs.begin(), pairs.end(),
                                  [&](const GpuPair& pair) { return pair.a == a && pair.b == b; });
  return found == pairs.end() ? nullptr : &*found;
}

const GpuFacts* Topology::Gpu(int index) const {
  const auto found = std::find_if(gpus.begin(), gpus.end(),
                                  [&](const GpuFacts& gpu) { return gpu.index == index; });
  return found == gpus.end() ? nullptr : &*found;
}

}  // namespace quire
