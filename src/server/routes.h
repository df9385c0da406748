// The table of URLs: which path is which route, with which method and what kind of body.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "server/http.h"

namespace quire {

enum class Route : unsigned char {
  kHealth,
  kPing,
  kVersion,
  kLoad,
  kMetrics,
  kModels,
  kModel,  // /v1/models/{id}
  kCompletions,
  kChat,
  kTokenize,
  kDetokenize,
};

// Exact on the raw path: nothing is decoded or normalised first, so no spelling slips past the key.
std::optional<Route> FindRoute(std::string_view path);
// Health checks ask for no key.
bool IsOpenRoute(Route route);
// The error for a method or media type that the route does not take; nothing where all is well.
std::optional<HttpResponse> CheckRoute(Route route, const HttpHead& head);
// The model id behind /v1/models/, percent-decoded; empty where it is malformed.
std::string ModelIdOfPath(std::string_view path);

}  // namespace quire
