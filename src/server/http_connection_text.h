// The bytes of an answer's head.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "server/http.h"

namespace quire {

struct HttpAnswerHead {
  int status = 200;
  std::string_view content_type;
  std::string_view request_id;
  const std::vector<HttpHeader>* headers = nullptr;  // further ones
  bool close = false;
};

bool HttpStatusHasBody(int status);
// With Content-Length, up to and with the empty line.
std::string WholeAnswerHead(const HttpAnswerHead& head, std::size_t body_bytes);
// Chunked, or ended by the end of the connection (HTTP/1.0).
std::string StreamAnswerHead(const HttpAnswerHead& head, bool chunked);
void AppendHttpChunk(std::string_view data, std::string* out);

std::string NewRequestId();  // "req-" and 32 random hexadecimal digits
bool IsRequestId(std::string_view text);

}  // namespace quire
