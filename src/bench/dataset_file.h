// A dataset's file as lines or array elements, and errors that say where in it.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"

namespace quire {

// Lines and elements are views of the text, which stays with its owner.
struct DatasetEntry {
  std::string_view text;
  int line = 0;  // of its first byte, from 1
};

// All of the file, at most 4 GiB, without a byte-order mark. A kConfig error names --dataset-path.
Result<std::string> ReadDatasetFile(const std::string& path);

// Those that are not blank, without their ends.
std::vector<DatasetEntry> DatasetLines(std::string_view text);
// The elements of the one JSON array that the text is, found by their brackets; what is between the
// brackets is not looked at.
Result<std::vector<DatasetEntry>> DatasetElements(const std::string& path, std::string_view text);

// kConfig: "PATH line N: MESSAGE"
Error DatasetFault(const std::string& path, int line, std::string_view message);
// The entry as a JSON object.
Result<Json> ParseDatasetEntry(const std::string& path, const DatasetEntry& entry);
// An integer field in [least, kMaxPromptTokens]; nothing where it is absent or null.
Result<std::optional<int>> DatasetCount(const std::string& path, int line, const Json& object,
                                        const char* field, int least);

}  // namespace quire
