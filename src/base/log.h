// One line a message on stderr: time, level, text. Coloured on a terminal only.
// Never logs prompt or completion text.
#pragma once

#include <fmt/core.h>

#include <string_view>
#include <utility>

namespace quire {

enum class LogLevel : unsigned char { kDebug, kInfo, kWarning, kError, kOff };

// Messages below the level are dropped. `prefix` names the process ("engine").
void ConfigureLog(LogLevel level, std::string_view prefix);
void LogLine(LogLevel level, std::string_view text);
bool LogEnabled(LogLevel level);

template <class... Args>
void LogDebug(fmt::format_string<Args...> format, Args&&... args) {
  if (LogEnabled(LogLevel::kDebug))
    LogLine(LogLevel::kDebug, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void LogInfo(fmt::format_string<Args...> format, Args&&... args) {
  LogLine(LogLevel::kInfo, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void LogWarning(fmt::format_string<Args...> format, Args&&... args) {
  LogLine(LogLevel::kWarning, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void LogError(fmt::format_string<Args...> format, Args&&... args) {
  LogLine(LogLevel::kError, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace quire
