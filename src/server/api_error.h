// Errors in OpenAI's shape: {"error": {"message", "type", "param", "code"}}, always all four.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "server/http.h"

namespace quire {

// The status that the kind of an error stands for.
int HttpStatus(const Error& error);

// The body; `param` and `code` are null where they are empty.
std::string ErrorBody(int status, std::string_view message, std::string_view param,
                      std::string_view code);
std::string ErrorBody(const Error& error);
// For errors that HTTP itself finds (HttpServer::ErrorBody).
std::string HttpErrorBody(int status, std::string_view message);

// A whole answer; 429 and 503 carry Retry-After.
HttpResponse ErrorResponse(const Error& error);
HttpResponse ErrorResponse(int status, std::string_view message, std::string_view param,
                           std::string_view code);

}  // namespace quire
