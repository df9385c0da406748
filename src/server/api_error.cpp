#include "server/api_error.h"

#include <cstddef>

#include "base/json.h"

namespace quire {
namespace {

constexpr std::size_t kMaxMessageBytes = 1024;

std::string_view TypeOf(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 429:
      return "rate_limit_error";
    case 503:
      return "service_unavailable_error";
    default:
      return status >= 500 ? "server_error" : "invalid_request_error";
  }
}

std::string_view CodeOf(int status) {
  switch (status) {
    case 408:
      return "request_timeout";
    case 413:
      return "content_too_large";
    case 414:
      return "uri_too_long";
    case 431:
      return "headers_too_large";
    default:
      return "";
  }
}

void AppendOrNull(std::string& out, std::string_view text) {
  if (text.empty())
    out += "null";
  else
    AppendJsonString(out, text);
}

}  // namespace

int HttpStatus(const Error& error) {
  switch (error.kind) {
    case ErrorKind::kInvalidRequest:
      return 400;
    case ErrorKind::kNotFound:
      return 404;
    case ErrorKind::kOverloaded:
      return 429;
    case ErrorKind::kUnavailable:
      return 503;
    case ErrorKind::kConfig:
    case ErrorKind::kModel:
    case ErrorKind::kDevice:
    case ErrorKind::kInternal:
      break;
  }
  return 500;
}

std::string ErrorBody(int status, std::string_view message, std::string_view param,
                      std::string_view code) {
  std::string out = R"({"error":{"message":)";
  AppendJsonString(out, message.substr(0, kMaxMessageBytes));
  out += R"(,"type":)";
  AppendJsonString(out, TypeOf(status));
  out += R"(,"param":)";
  AppendOrNull(out, param);
  out += R"(,"code":)";
  AppendOrNull(out, code);
  out += "}}";
  return out;
}

std::string ErrorBody(const Error& error) {
  return ErrorBody(HttpStatus(error), error.message, error.param, error.code);
}

std::string HttpErrorBody(int status, std::string_view message) {
  return ErrorBody(status, message, "", CodeOf(status));
}

HttpResponse ErrorResponse(int status, std::string_view message, std::string_view param,
                           std::string_view code) {
  HttpResponse response;
  response.status = status;
  response.body = ErrorBody(status, message, param, code);
  if (status == 429) response.headers.push_back({"Retry-After", "1"});
  if (status == 503)
    response.headers.push_back({"Retry-After", code == "model_loading" ? "5" : "2"});
  if (status == 401) response.headers.push_back({"WWW-Authenticate", "Bearer"});
  return response;
}

HttpResponse ErrorResponse(const Error& error) {
  return ErrorResponse(HttpStatus(error), error.message, error.param, error.code);
}

}  // namespace quire
