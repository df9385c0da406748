#include "engine/load.h"

#include <charconv>
#include <cstdlib>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "weights/model_folder.h"

namespace quire {
namespace {

// share/quire beside the binary's folder (installed), or above the build folder (in the source
// tree).
std::vector<std::filesystem::path> ShareFolders() {
  std::vector<std::filesystem::path> folders;
  if (const char* chosen = std::getenv("QUIRE_SHARE_DIR")) folders.emplace_back(chosen);
  std::error_code ignored;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", ignored);
  std::filesystem::path above = program.parent_path();
  for (int level = 0; level < 3 && above.has_parent_path(); ++level) {
    above = above.parent_path();
    folders.push_back(above / "share" / "quire");
  }
  return folders;
}

// The number of an environment variable, where it is set.
Status ReadNumber(const char* variable, std::int32_t least, std::int32_t most,
                  std::int32_t& number) {
  const char* value = std::getenv(variable);
  if (value == nullptr || *value == '\0') return {};
  const std::string_view text(value);
  std::int32_t read = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), read);
  if (error != std::errc() || end != text.data() + text.size() || read < least || read > most) {
    return ConfigFault(std::string(variable) + ": '" + value + "' is no number from " +
                       std::to_string(least) + " to " + std::to_string(most));
  }
  number = read;
  return {};
}

}  // namespace

Status ProfileFromEnvironment(ProfileOptions& options) {
  if (options.num_steps > 0) return {};
  QUIRE_RETURN_IF_ERROR(
      ReadNumber("QUIRE_PROFILE_STEPS", 0, ProfileOptions::kMaxSteps, options.num_steps));
  QUIRE_RETURN_IF_ERROR(
      ReadNumber("QUIRE_PROFILE_FIRST", 0, ProfileOptions::kLastFirstStep, options.first_step));
  if (const char* file = std::getenv("QUIRE_PROFILE_FILE")) options.file = file;
  return {};
}

namespace {

// The share folder that has such a part; empty where there is none.
std::filesystem::path FindShare(const char* part) {
  for (const std::filesystem::path& share : ShareFolders()) {
    std::error_code ignored;
    if (std::filesystem::exists(share / part, ignored)) return share;
  }
  return {};
}

}  // namespace

Result<std::filesystem::path> FindModel(const std::string& name) {
  if (!name.empty() && name != kBuiltInModelName) return FindModelFolder(name);
  std::string looked;
  for (const std::filesystem::path& share : ShareFolders()) {
    const std::filesystem::path folder = share / "models" / "demo";
    std::error_code ignored;
    if (std::filesystem::exists(folder / "config.json", ignored)) return folder;
    looked += (looked.empty() ? "" : ", ") + folder.string();
  }
  return ConfigFault("the built-in model is not where it was installed; looked in " + looked +
                     " (QUIRE_SHARE_DIR names another folder)");
}

Result<std::unique_ptr<Engine>> LoadEngine(const EngineConfig& config,
                                           const LoadProgressHandler& progress,
                                           Engine::ReportHandler on_report) {
  ProfileOptions profile = config.profile;
  QUIRE_RETURN_IF_ERROR(ProfileFromEnvironment(profile));
  RuntimeConfig found = config;
  if (found.share_folder.empty()) found.share_folder = FindShare("gemm");
  auto executor = LoadExecutor(found, progress);
  if (!executor) return executor.error();
  return std::make_unique<Engine>(std::move(executor).value(), std::move(on_report),
                                  std::move(profile));
}

}  // namespace quire
