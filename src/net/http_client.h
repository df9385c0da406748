// HttpClient: small blocking requests (GET /v1/models, POST /tokenize, GET /metrics), with
// keep-alive and a time limit. Streams under load go through bench/'s own event loop, which shares
// the parser.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "net/http_message.h"
#include "net/url.h"

namespace quire {

struct HttpReply {
  int status = 0;
  std::vector<HttpHeader> headers;
  std::string body;
};

// Owns one connection; one thread at a time.
class HttpClient {
 public:
  HttpClient(Url base, std::vector<HttpHeader> headers, std::chrono::milliseconds timeout);
  ~HttpClient();
  HttpClient(HttpClient&&) noexcept;
  HttpClient& operator=(HttpClient&&) noexcept;

  // A kUnavailable error where no answer came; any status is an answer. `path` follows the base's.
  Result<HttpReply> Get(std::string_view path);
  Result<HttpReply> PostJson(std::string_view path, std::string_view json);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

// The head and body of one request as they go over the wire.
std::string WriteHttpRequest(std::string_view method, const Url& base, std::string_view path,
                             const std::vector<HttpHeader>& headers, std::string_view body);

}  // namespace quire
