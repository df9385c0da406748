#include "models/config_reader.h"

#include <fmt/core.h>

#include <cmath>
#include <nlohmann/json.hpp>

namespace quire {
namespace {

constexpr std::size_t kMaxShown = 80;

std::string Show(const Json& value) {
  std::string text = WriteJson(value);
  if (text.size() > kMaxShown) text = text.substr(0, kMaxShown) + "…";
  return text;
}

}  // namespace

const Json* ConfigReader::Find(std::string_view field) const {
  const auto found = object_.find(std::string(field));
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

void ConfigReader::Fail(std::string_view field, const std::string& what) {
  if (error_) return;
  const std::string prefix = path_.empty() ? "" : path_ + ".";
  error_ = ModelFault(fmt::format("config.json: {}{} {}", prefix, field, what));
}

std::int64_t ConfigReader::Int(std::string_view field, std::int64_t min, std::int64_t max,
                               std::optional<std::int64_t> absent) {
  const Json* value = Find(field);
  if (value == nullptr) {
    if (!absent) Fail(field, "is missing");
    return absent.value_or(min);
  }
  const bool fits = value->is_number_integer() &&
                    !(value->is_number_unsigned() && value->get<std::uint64_t>() > INT64_MAX);
  if (fits) {
    const auto number = value->get<std::int64_t>();
    if (number >= min && number <= max) return number;
  }
  Fail(field, fmt::format("must be {} … {}, it is {}", min, max, Show(*value)));
  return min;
}

double ConfigReader::Real(std::string_view field, double min, double max,
                          std::optional<double> absent) {
  const Json* value = Find(field);
  if (value == nullptr) {
    if (!absent) Fail(field, "is missing");
    return absent.value_or(max);
  }
  if (value->is_number()) {
    const auto number = value->get<double>();
    if (std::isfinite(number) && number >= min && number <= max) return number;
  }
  Fail(field, fmt::format("must be {} … {}, it is {}", min, max, Show(*value)));
  return max;
}

bool ConfigReader::Bool(std::string_view field, bool absent) {
  const Json* value = Find(field);
  if (value == nullptr) return absent;
  if (value->is_boolean()) return value->get<bool>();
  Fail(field, "must be true or false, it is " + Show(*value));
  return absent;
}

std::string ConfigReader::Text(std::string_view field, const std::string& absent) {
  const Json* value = Find(field);
  if (value == nullptr) return absent;
  if (value->is_string()) return value->get<std::string>();
  Fail(field, "must be a string, it is " + Show(*value));
  return absent;
}

}  // namespace quire
