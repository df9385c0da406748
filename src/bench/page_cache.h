// The page cache, emptied of files, so that what reads them next reads the disk.
#pragma once

#include <filesystem>
#include <span>
#include <vector>

namespace quire {

// The regular files directly in a folder, through links.
std::vector<std::filesystem::path> FilesOfFolder(const std::filesystem::path& folder);

// Drops the files' pages and returns which share of them is in memory all the same (another process
// has them mapped, or the kernel does not tell); 0 where there are none.
double DropFromPageCache(std::span<const std::filesystem::path> files);

}  // namespace quire
