#include "server/api_keys.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>

#include <optional>

namespace quire {
namespace {

// The token of "Bearer <token>"; the scheme's name is taken in any case (RFC 9110, 11.1).
std::optional<std::string_view> BearerToken(std::string_view value) {
  constexpr std::string_view kScheme = "bearer ";
  if (value.size() <= kScheme.size()) return std::nullopt;
  for (std::size_t i = 0; i < kScheme.size(); ++i) {
    const char c = value[i];
    const char lower = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    if (lower != kScheme[i]) return std::nullopt;
  }
  value.remove_prefix(kScheme.size());
  while (!value.empty() && value.front() == ' ') value.remove_prefix(1);
  return value;
}

}  // namespace

ApiKeys::Digest ApiKeys::DigestOf(std::string_view key) {
  Digest digest{};
  SHA256(reinterpret_cast<const unsigned char*>(key.data()), key.size(), digest.data());
  return digest;
}

ApiKeys::ApiKeys(const std::vector<std::string>& keys) {
  for (const std::string& key : keys)
    if (!key.empty()) digests_.push_back(DigestOf(key));
}

bool ApiKeys::Allows(const HttpHead& head) const {
  if (digests_.empty()) return true;
  if (head.Count("Authorization") != 1) return false;
  const auto token = BearerToken(head.Header("Authorization").value_or(""));
  if (!token || token->empty()) return false;
  const Digest digest = DigestOf(*token);
  bool found = false;
  for (const Digest& key : digests_)
    if (CRYPTO_memcmp(key.data(), digest.data(), digest.size()) == 0) found = true;
  return found;
}

}  // namespace quire
