#include "base/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <string>

namespace quire {
namespace {

spdlog::level::level_enum Level(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
    case LogLevel::kOff:
      break;
  }
  return spdlog::level::off;
}

std::shared_ptr<spdlog::logger> MakeLogger() {
  const bool coloured = ::isatty(STDERR_FILENO) != 0 && std::getenv("NO_COLOR") == nullptr;
  auto sink = std::make_shared<spdlog::sinks::stderr_color_sink_mt>(
      coloured ? spdlog::color_mode::automatic : spdlog::color_mode::never);
  auto logger = std::make_shared<spdlog::logger>("quire", sink);
  logger->set_pattern("%H:%M:%S.%e %^%L%$ %v");
  logger->flush_on(spdlog::level::info);
  return logger;
}

// The process has one stderr, so it has one logger.
spdlog::logger& Logger() {
  static const std::shared_ptr<spdlog::logger> logger = MakeLogger();
  return *logger;
}

}  // namespace

void ConfigureLog(LogLevel level, std::string_view prefix) {
  Logger().set_level(Level(level));
  if (!prefix.empty()) Logger().set_pattern("%H:%M:%S.%e %^%L%$ " + std::string(prefix) + ": %v");
}

void LogLine(LogLevel level, std::string_view text) {
  Logger().log(Level(level), spdlog::string_view_t(text.data(), text.size()));
}

bool LogEnabled(LogLevel level) { return Logger().should_log(Level(level)); }

}  // namespace quire
