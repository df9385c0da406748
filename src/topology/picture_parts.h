// Pieces that picture and advice are written with.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "topology/topology.h"

namespace quire {

inline constexpr std::size_t kPictureColumns = 100;

double GiB(std::int64_t bytes);

// Columns that the UTF-8 text takes, terminal escapes not counted.
std::size_t TextColumns(std::string_view text);
std::string PadRight(std::string text, std::size_t columns);
std::string PadLeft(const std::string& text, std::size_t columns);
std::string Centered(const std::string& text, std::size_t columns);
// At most so many columns, "…" for what is cut.
std::string Shortened(const std::string& text, std::size_t columns);
// Lines of at most kPictureColumns; the first begins with `first`, the others with `next`.
std::string Wrapped(std::string_view text, const std::string& first, const std::string& next);

// "NV18", "PIX", …
std::string LinkText(const GpuPair& pair);
// True: known to lack it, by test or, where none was made, by the driver.
bool LacksPeer(const GpuPair& pair);
// "H200" of "NVIDIA H200"; "GPU" where there is no name.
std::string ShortGpuName(const GpuFacts& gpu);
// "0, 1 and 2"; "0-7" for long runs.
std::string ListOfGpus(const std::vector<int>& gpus);

}  // namespace quire
