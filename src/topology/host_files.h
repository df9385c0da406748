// The kernel's small files under /proc and /sys, and the lists of cores in them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace quire {

// The file as far as 4 MiB; empty where it cannot be read.
std::string ReadHostFile(const std::filesystem::path& file);
// Its first line without white space at the ends.
std::string ReadHostLine(const std::filesystem::path& file);

std::string_view TrimBlanks(std::string_view text);
// The number that the text begins with.
std::optional<std::int64_t> LeadingInteger(std::string_view text);
// The value of "MemTotal:  123 kB" in bytes; 0 where there is no such line.
std::int64_t KibibytesOf(std::string_view text, std::string_view key);

// "0-3,8" as 0, 1, 2, 3, 8, and back. Ill-formed lists are empty; ids go up to 65535.
std::vector<int> ParseCpuList(std::string_view list);
std::string FormatCpuList(const std::vector<int>& cpus);

}  // namespace quire
