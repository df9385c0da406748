// Reads the fields of a config.json, each with its range, and remembers the first that is wrong.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/result.h"

namespace quire {

// Owns the first error; the values read after it are within their ranges but mean nothing. A field
// that is null counts as absent, as in transformers.
class ConfigReader {
 public:
  // `path`: "rope_scaling" for an object within config.json, "" for the file's own.
  explicit ConfigReader(const Json& object, std::string path = "")
      : object_(object), path_(std::move(path)) {}

  bool Has(std::string_view field) const { return Find(field) != nullptr; }
  std::int64_t Int(std::string_view field, std::int64_t min, std::int64_t max,
                   std::optional<std::int64_t> absent = std::nullopt);
  double Real(std::string_view field, double min, double max,
              std::optional<double> absent = std::nullopt);
  bool Bool(std::string_view field, bool absent);
  std::string Text(std::string_view field, const std::string& absent);
  // The field or null.
  const Json* Find(std::string_view field) const;

  // "config.json: field what", unless there is an error already.
  void Fail(std::string_view field, const std::string& what);
  Status status() const { return error_ ? Status(*error_) : Status(); }
  void Adopt(const Status& status) {
    if (!status.ok() && !error_) error_ = status.error();
  }

 private:
  const Json& object_;
  std::string path_;
  std::optional<Error> error_;
};

}  // namespace quire
