// Url: where an HTTP server is, as typed by a user.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace quire {

struct Url {
  std::string host;  // a name or an address, an IPv6 one without its brackets
  int port = 80;
  std::string path;               // of the base, without a trailing '/': "" or "/prefix"
  std::string Authority() const;  // for the Host header
};

// http://host[:port][/prefix]. Anything else is a kConfig error; https is named as not supported.
Result<Url> ParseUrl(std::string_view text);

}  // namespace quire
