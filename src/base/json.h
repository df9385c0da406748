// JSON in and out. The reader is strict and bounded; the writer is total.
#pragma once

#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "base/result.h"

namespace quire {

using Json = nlohmann::ordered_json;  // keeps the order of keys, as chat templates need it

struct JsonLimits {
  int max_depth = 100;
  std::size_t max_key_bytes = 65536;
  bool allow_duplicate_keys = false;  // then the last one counts, in the first one's place
};

// One JSON document and nothing behind it. Refuses invalid UTF-8, lone surrogates, duplicate keys
// and too deep nesting. Integers that fit 64 bits stay integers. The error has code json_too_deep,
// duplicate_key or invalid_json, and no bytes of the text.
Result<Json> ParseJson(std::string_view text, const JsonLimits& limits = {});

// Compact JSON; any byte string is accepted, ill-formed UTF-8 becomes U+FFFD.
std::string WriteJson(const Json& value);

// Appends `text` as a JSON string with its quotes; ill-formed UTF-8 becomes U+FFFD.
void AppendJsonString(std::string& out, std::string_view text);

}  // namespace quire
