#include "net/url.h"

#include <algorithm>
#include <charconv>

#include "net/http_message.h"
#include "net/http_request_parser.h"

namespace quire {
namespace {

Error UrlFault(std::string_view text, std::string_view why) {
  return ConfigFault("'" + std::string(text) +
                     "' is not of the form http://host[:port][/prefix]: " + std::string(why));
}

bool IsPathByte(char c) { return c > ' ' && c < '\x7f' && c != '"' && c != '<' && c != '>'; }

}  // namespace

std::string Url::Authority() const {
  const std::string name = host.find(':') == std::string::npos ? host : "[" + host + "]";
  return port == 80 ? name : name + ":" + std::to_string(port);
}

Result<Url> ParseUrl(std::string_view text) {
  const auto mark = text.find("://");
  if (mark == std::string_view::npos) return UrlFault(text, "it does not begin with http://");
  const std::string_view scheme = text.substr(0, mark);
  if (EqualsIgnoringCase(scheme, "https")) {
    return UrlFault(text, "https is not supported; use a proxy that ends TLS");
  }
  if (!EqualsIgnoringCase(scheme, "http")) return UrlFault(text, "the scheme is not http");
  std::string_view rest = text.substr(mark + 3);
  const auto slash = std::min(rest.find_first_of("/?#"), rest.size());
  const std::string_view authority = rest.substr(0, slash);
  std::string_view path = rest.substr(slash);
  if (authority.find('@') != std::string_view::npos) {
    return UrlFault(text, "a user name does not belong there");
  }
  if (!IsHttpAuthority(authority)) return UrlFault(text, "the host or port is malformed");
  if (path.find_first_of("?#") != std::string_view::npos) {
    return UrlFault(text, "a query or fragment does not belong there");
  }
  if (!std::all_of(path.begin(), path.end(), IsPathByte)) {
    return UrlFault(text, "the prefix holds a character that must be %-escaped");
  }

  Url url;
  const auto bracket = authority.rfind(']');
  const auto colon = authority.find(':', bracket == std::string_view::npos ? 0 : bracket);
  std::string_view host = authority.substr(0, colon);
  if (bracket != std::string_view::npos) host = host.substr(1, host.size() - 2);
  url.host = std::string(host);
  if (colon != std::string_view::npos && colon + 1 < authority.size()) {
    const std::string_view port = authority.substr(colon + 1);
    std::from_chars(port.data(), port.data() + port.size(), url.port);
    if (url.port == 0) return UrlFault(text, "port 0 cannot be reached");
  }
  while (!path.empty() && path.back() == '/') path.remove_suffix(1);
  url.path = std::string(path);
  return url;
}

}  // namespace quire
