// ApiKeys: who may ask. Owns digests of the keys, never the keys.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "server/http.h"

namespace quire {

class ApiKeys {
 public:
  explicit ApiKeys(const std::vector<std::string>& keys);

  // True where no key is asked for, or the request has exactly one Authorization header with one of
  // them as a Bearer token. Takes the same time for every wrong key.
  bool Allows(const HttpHead& head) const;

 private:
  using Digest = std::array<unsigned char, 32>;
  static Digest DigestOf(std::string_view key);

  std::vector<Digest> digests_;
};

}  // namespace quire
