// Finding a model on disk and reading its small JSON files.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/json.h"
#include "base/result.h"

namespace quire {

// The folder of a model given as a path or as org/name: a path that exists; else the snapshot of
// org/name in the Hugging Face cache (HF_HUB_CACHE, else HF_HOME/hub, else
// ~/.cache/huggingface/hub), refs/main first. kConfig error that says where it looked.
Result<std::filesystem::path> FindModelFolder(const std::string& model);

// A JSON object from a file of the folder, at most 64 MiB. kModel errors name the file. Duplicate
// keys are allowed as Python's reader allows them. Not a regular file, a loop of links, no read
// permission: errors.
Result<Json> ReadJsonFile(const std::filesystem::path& file);

// Union of eos_token_id of config.json and generation_config.json (a number or a list), checked
// against 0 ≤ id < vocab_size; ids outside are a kModel error that names file and field.
Result<std::vector<TokenId>> ReadEosTokenIds(const std::filesystem::path& folder,
                                             std::int64_t vocab_size);

}  // namespace quire
