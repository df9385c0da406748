// JsonView: a value of a model's JSON file together with where it stands, for errors that name the
// field.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "base/ids.h"
#include "base/json.h"
#include "base/result.h"

namespace quire {

// Greater ids are refused: tables are as long as the greatest id, and no vocabulary comes near.
inline constexpr TokenId kMaxTokenId = (1 << 24) - 1;

// Refers to a value of a document, which it does not own, and knows its path ("tokenizer.json:
// model.vocab").
class JsonView {
 public:
  JsonView(const Json& value, std::string file) : value_(&value), file_(std::move(file)) {}

  const Json& json() const { return *value_; }
  bool is_null() const { return value_->is_null(); }

  // The member of an object; nothing where this is no object, or the member is missing or null.
  std::optional<JsonView> Find(std::string_view key) const;
  Result<JsonView> Require(std::string_view key) const;
  JsonView At(std::size_t index) const;  // of an array, index in range

  Result<std::string> AsString() const;
  Result<TokenId> AsTokenId() const;
  Result<std::string> String(std::string_view key) const;  // required
  Result<std::string> StringOr(std::string_view key, std::string_view fallback) const;
  Result<bool> BoolOr(std::string_view key, bool fallback) const;
  Result<std::int64_t> IntOr(std::string_view key, std::int64_t fallback) const;
  Result<JsonView> Array(std::string_view key) const;  // required

  // A kModel error that names the file and this field.
  Error Fault(std::string_view message) const;

 private:
  JsonView(const Json& value, std::string file, std::string path)
      : value_(&value), file_(std::move(file)), path_(std::move(path)) {}

  const Json* value_;
  std::string file_;
  std::string path_;
};

// A token or name for an error message: quoted, on one line, shortened.
std::string Quoted(std::string_view text);

}  // namespace quire
