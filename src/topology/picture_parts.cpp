#include "topology/picture_parts.h"

#include <fmt/core.h>

#include <algorithm>

#include "topology/host_files.h"

namespace quire {

double GiB(std::int64_t bytes) { return static_cast<double>(bytes) / (1024.0 * 1024 * 1024); }

std::size_t TextColumns(std::string_view text) {
  std::size_t columns = 0;
  bool escape = false;
  for (const char c : text) {
    if (c == '\x1b') escape = true;
    if (!escape && (static_cast<unsigned char>(c) & 0xc0) != 0x80) ++columns;
    if (c == 'm') escape = false;
  }
  return columns;
}

std::string PadRight(std::string text, std::size_t columns) {
  const std::size_t has = TextColumns(text);
  if (has < columns) text.append(columns - has, ' ');
  return text;
}

std::string PadLeft(const std::string& text, std::size_t columns) {
  const std::size_t has = TextColumns(text);
  return std::string(columns - std::min(has, columns), ' ') + text;
}

std::string Centered(const std::string& text, std::size_t columns) {
  const std::size_t spare = columns - std::min(columns, TextColumns(text));
  return std::string(spare / 2, ' ') + text + std::string(spare - spare / 2, ' ');
}

std::string Shortened(const std::string& text, std::size_t columns) {
  if (TextColumns(text) <= columns) return text;
  std::size_t end = 0, taken = 0;
  while (end < text.size()) {
    if ((static_cast<unsigned char>(text[end]) & 0xc0) != 0x80 && ++taken == columns) break;
    ++end;
  }
  return text.substr(0, end) + "…";
}

std::string Wrapped(std::string_view text, const std::string& first, const std::string& next) {
  std::string out, line = first;
  bool empty = true;
  while (!text.empty()) {
    const std::string_view word = text.substr(0, text.find(' '));
    text.remove_prefix(std::min(text.size(), word.size() + 1));
    if (!empty && TextColumns(line) + 1 + TextColumns(word) > kPictureColumns) {
      out += line + "\n";
      line = next;
      empty = true;
    }
    if (!empty) line += ' ';
    line += word;
    empty = false;
  }
  return out + line + "\n";
}

std::string LinkText(const GpuPair& pair) {
  if (pair.link == LinkKind::kNvLink) return fmt::format("NV{}", pair.num_nvlinks);
  return LinkKindName(pair.link);
}

bool LacksPeer(const GpuPair& pair) {
  return pair.peer_works ? !*pair.peer_works : !pair.driver_claims_peer.value_or(true);
}

std::string ShortGpuName(const GpuFacts& gpu) {
  if (gpu.name.empty()) return "GPU";
  const std::string maker = "NVIDIA ";
  return gpu.name.rfind(maker, 0) == 0 ? gpu.name.substr(maker.size()) : gpu.name;
}

std::string ListOfGpus(const std::vector<int>& gpus) {
  if (gpus.size() > 2 && gpus.back() - gpus.front() == static_cast<int>(gpus.size()) - 1)
    return fmt::format("{}-{}", gpus.front(), gpus.back());
  std::string list;
  for (std::size_t i = 0; i < gpus.size(); ++i)
    list += (i == 0 ? "" : i + 1 == gpus.size() ? " and " : ", ") + std::to_string(gpus[i]);
  return list;
}

}  // namespace quire
