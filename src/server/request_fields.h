// FieldReader: the typed fields of one JSON object of a request. Keeps the first error; later reads
// then give nothing, so a parser reads on and asks once.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/ids.h"
#include "base/json.h"
#include "base/result.h"

namespace quire {

// Absent and null are the same: nothing. A value of the wrong type or outside its range is an error
// that names the field by its JSON path and repeats no bytes of the request.
class FieldReader {
 public:
  // The object must outlive the reader. `path` is where it stands in the body ("messages[3]"),
  // empty at the top.
  FieldReader(const Json& object, std::string path);

  bool ok() const { return !error_.has_value(); }
  Status status() const { return error_ ? Status(*error_) : Status(); }
  void Fail(std::string message, std::string_view name, std::string_view code);
  void FailWith(Error error);  // of something nested, whose param is a whole path
  std::string PathOf(std::string_view name) const;

  const Json* Find(std::string_view name) const;  // null for absent and null
  bool Has(std::string_view name) const { return Find(name) != nullptr; }

  bool Bool(std::string_view name, bool otherwise);
  std::optional<std::int64_t> Int(std::string_view name, std::int64_t low, std::int64_t high);
  std::optional<double> Number(std::string_view name, double low, double high);
  std::optional<std::string> String(std::string_view name, std::size_t max_bytes);
  const Json* Object(std::string_view name);
  const Json* Array(std::string_view name, std::size_t max_size);
  // A list of token ids, each in [0, vocab_size); empty where it is absent.
  std::vector<TokenId> TokenIds(std::string_view name, std::size_t max_size,
                                std::int64_t vocab_size);
  // A list of texts, none of them empty; where `or_one` a text alone stands for a list of one.
  std::vector<std::string> Strings(std::string_view name, std::size_t max_size,
                                   std::size_t max_bytes, bool or_one);

 private:
  std::unordered_map<std::string_view, const Json*> fields_;
  std::string path_;
  std::optional<Error> error_;
};

// An integer, written as one or as a decimal without a fraction (4.0).
Result<std::int64_t> ReadInt(const Json& value, std::string path, std::int64_t low,
                             std::int64_t high);
// Token ids of a list that is known to be one.
Result<std::vector<TokenId>> ReadTokenIds(const Json& list, const std::string& path,
                                          std::int64_t vocab_size);

}  // namespace quire
