#include "weights/model_folder.h"

#include <fmt/core.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <optional>
#include <system_error>

#include "weights/mapped_file.h"

namespace quire {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxJsonBytes = std::size_t{64} << 20;
constexpr std::size_t kMaxRefBytes = 1 << 16;
constexpr std::size_t kMaxEosTokens = 1024;

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

fs::path ExpandHome(const std::string& path) {
  if (path == "~" || path.rfind("~/", 0) == 0) return Environment("HOME") + path.substr(1);
  return path;
}

fs::path HuggingFaceCache() {
  if (const std::string cache = Environment("HF_HUB_CACHE"); !cache.empty())
    return ExpandHome(cache);
  if (const std::string home = Environment("HF_HOME"); !home.empty())
    return ExpandHome(home) / "hub";
  if (const std::string cache = Environment("XDG_CACHE_HOME"); !cache.empty())
    return ExpandHome(cache) / "huggingface" / "hub";
  return ExpandHome("~/.cache/huggingface/hub");
}

bool IsFolder(const fs::path& path) {
  std::error_code error;
  return fs::is_directory(path, error);
}

bool IsPlainName(std::string_view name) {
  return !name.empty() && name != "." && name != ".." &&
         std::all_of(name.begin(), name.end(), [](unsigned char c) {
           return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
         });
}

// org/name, or a name alone, as the hub allows them.
bool IsRepository(std::string_view model) {
  const std::size_t slash = model.find('/');
  if (slash == std::string_view::npos) return IsPlainName(model);
  return IsPlainName(model.substr(0, slash)) && IsPlainName(model.substr(slash + 1));
}

std::optional<fs::path> MainSnapshot(const fs::path& repository) {
  auto ref = ReadSmallFile(repository / "refs" / "main", kMaxRefBytes);
  if (!ref) return std::nullopt;
  std::string revision = ref->substr(0, ref->find_first_of(" \t\r\n"));
  if (!IsPlainName(revision)) return std::nullopt;
  fs::path snapshot = repository / "snapshots" / revision;
  if (!IsFolder(snapshot)) return std::nullopt;
  return snapshot;
}

// Of a repository without a usable refs/main: the snapshot that was written last.
std::optional<fs::path> NewestSnapshot(const fs::path& repository) {
  std::optional<fs::path> newest;
  fs::file_time_type newest_time;
  std::error_code error;
  for (fs::directory_iterator it(repository / "snapshots", error), end; !error && it != end;
       it.increment(error)) {
    if (!IsFolder(it->path())) continue;
    std::error_code no_time;
    const auto time = fs::last_write_time(it->path(), no_time);
    if (no_time || (newest && time <= newest_time)) continue;
    newest = it->path();
    newest_time = time;
  }
  return newest;
}

Status AddEosTokens(const Json& config, const std::string& file, std::int64_t vocab_size,
                    std::vector<TokenId>& ids) {
  const auto found = config.find("eos_token_id");
  if (found == config.end() || found->is_null()) return {};
  const Json list = found->is_array() ? *found : Json::array({*found});
  if (list.size() > kMaxEosTokens)
    return ModelFault(
        fmt::format("{}: eos_token_id has more than {} entries", file, kMaxEosTokens));
  for (const Json& entry : list) {
    const bool in_range = entry.is_number_unsigned()
                              ? entry.get<std::uint64_t>() < static_cast<std::uint64_t>(vocab_size)
                              : false;
    if (!in_range) {
      return ModelFault(fmt::format("{}: eos_token_id must be 0 … {} or a list of such, it is {}",
                                    file, vocab_size - 1, WriteJson(*found).substr(0, 100)));
    }
    const auto id = entry.get<TokenId>();
    if (std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
  }
  return {};
}

}  // namespace

Result<fs::path> FindModelFolder(const std::string& model) {
  if (model.empty() || model.find('\0') != std::string::npos)
    return ConfigFault("the name of the model is empty or holds a zero byte");
  if (IsFolder(model)) return fs::path(model);
  if (EntryExists(model))
    return ConfigFault("model '" + model + "' is not a folder; the folder of a model is needed");
  if (!IsRepository(model)) return ConfigFault("model '" + model + "': there is no such folder");
  std::string folder_name = "models--" + model;
  if (const std::size_t slash = folder_name.find('/'); slash != std::string::npos)
    folder_name.replace(slash, 1, "--");
  const fs::path repository = HuggingFaceCache() / folder_name;
  if (auto snapshot = MainSnapshot(repository)) return *snapshot;
  if (auto snapshot = NewestSnapshot(repository)) return *snapshot;
  std::error_code error;
  return ConfigFault(
      fmt::format("model '{}' was not found: there is neither a folder {} nor a "
                  "snapshot in the Hugging Face cache {}",
                  model, fs::absolute(model, error).string(), repository.string()));
}

Result<Json> ReadJsonFile(const fs::path& file) {
  auto text = ReadSmallFile(file, kMaxJsonBytes);
  if (!text) return text.error();
  JsonLimits limits;
  limits.allow_duplicate_keys = true;
  auto json = ParseJson(*text, limits);
  const std::string name = file.filename().string();
  if (!json) return ModelFault(name + ": " + json.error().message);
  if (!json->is_object()) return ModelFault(name + ": must be a JSON object");
  return json;
}

Result<std::vector<TokenId>> ReadEosTokenIds(const fs::path& folder, std::int64_t vocab_size) {
  std::vector<TokenId> ids;
  for (const char* name : {"config.json", "generation_config.json"}) {
    if (std::string(name) != "config.json" && !EntryExists(folder / name)) continue;
    auto config = ReadJsonFile(folder / name);
    if (!config) return config.error();
    QUIRE_RETURN_IF_ERROR(AddEosTokens(*config, name, vocab_size, ids));
  }
  return ids;
}

}  // namespace quire
