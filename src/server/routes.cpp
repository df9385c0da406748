#include "server/routes.h"

#include <array>
#include <cstddef>

#include "server/api_error.h"

namespace quire {
namespace {

struct RouteRow {
  std::string_view path;
  Route route;
  std::string_view methods;  // as the Allow header lists them
  bool has_json_body;
  bool open;
};

constexpr std::string_view kModelPrefix = "/v1/models/";

constexpr std::array kRoutes = {
    RouteRow{"/health", Route::kHealth, "GET", false, true},
    RouteRow{"/ping", Route::kPing, "GET, POST", false, true},
    RouteRow{"/version", Route::kVersion, "GET", false, false},
    RouteRow{"/load", Route::kLoad, "GET", false, false},
    RouteRow{"/metrics", Route::kMetrics, "GET", false, false},
    RouteRow{"/v1/models", Route::kModels, "GET", false, false},
    RouteRow{kModelPrefix, Route::kModel, "GET", false, false},
    RouteRow{"/v1/completions", Route::kCompletions, "POST", true, false},
    RouteRow{"/v1/chat/completions", Route::kChat, "POST", true, false},
    RouteRow{"/tokenize", Route::kTokenize, "POST", true, false},
    RouteRow{"/detokenize", Route::kDetokenize, "POST", true, false},
};

const RouteRow& RowOf(Route route) {
  for (const RouteRow& row : kRoutes)
    if (row.route == route) return row;
  return kRoutes.front();
}

bool Allows(std::string_view methods, std::string_view method) {
  while (!methods.empty()) {
    const std::size_t comma = methods.find(", ");
    if (methods.substr(0, comma) == method) return true;
    if (comma == std::string_view::npos) return false;
    methods.remove_prefix(comma + 2);
  }
  return false;
}

std::string Lower(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

std::string_view Trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// application/json, alone or with charset=utf-8 as its only charset.
bool IsJsonType(std::string_view value) {
  const std::string lower = Lower(value);
  std::string_view rest = lower;
  std::size_t semicolon = rest.find(';');
  if (Trim(rest.substr(0, semicolon)) != "application/json") return false;
  while (semicolon != std::string_view::npos) {
    rest.remove_prefix(semicolon + 1);
    semicolon = rest.find(';');
    const std::string_view parameter = Trim(rest.substr(0, semicolon));
    if (parameter.rfind("charset=", 0) != 0) continue;
    if (parameter != "charset=utf-8" && parameter != "charset=\"utf-8\"") return false;
  }
  return true;
}

int HexValue(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

std::optional<Route> FindRoute(std::string_view path) {
  for (const RouteRow& row : kRoutes)
    if (row.route != Route::kModel && row.path == path) return row.route;
  if (path.size() > kModelPrefix.size() && path.substr(0, kModelPrefix.size()) == kModelPrefix)
    return Route::kModel;
  return std::nullopt;
}

bool IsOpenRoute(Route route) { return RowOf(route).open; }

std::optional<HttpResponse> CheckRoute(Route route, const HttpHead& head) {
  const RouteRow& row = RowOf(route);
  if (!Allows(row.methods, head.method)) {
    HttpResponse response =
        ErrorResponse(405, "this URL does not take that method", "", "method_not_allowed");
    response.headers.push_back({"Allow", std::string(row.methods)});
    return response;
  }
  if (const auto coding = head.Header("Content-Encoding"); coding && Lower(*coding) != "identity")
    return ErrorResponse(415, "an encoded (compressed) body is not supported", "",
                         "unsupported_content_encoding");
  if (row.has_json_body && !IsJsonType(head.Header("Content-Type").value_or("")))
    return ErrorResponse(415, "the body must be Content-Type: application/json in UTF-8", "",
                         "unsupported_media_type");
  return std::nullopt;
}

std::string ModelIdOfPath(std::string_view path) {
  path.remove_prefix(kModelPrefix.size());
  std::string id;
  for (std::size_t at = 0; at < path.size(); ++at) {
    if (path[at] != '%') {
      id.push_back(path[at]);
      continue;
    }
    const int high = at + 2 < path.size() ? HexValue(path[at + 1]) : -1;
    const int low = high >= 0 ? HexValue(path[at + 2]) : -1;
    if (low < 0) return "";
    id.push_back(static_cast<char>(high * 16 + low));
    at += 2;
  }
  return id;
}

}  // namespace quire
