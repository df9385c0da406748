#include "net/http_client.h"

#include <poll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>
#include <utility>

#include "base/clock.h"
#include "net/http_response_parser.h"
#include "net/tcp_socket.h"

namespace quire {
namespace {

// A key that was read from a file often ends in a newline.
void AppendHeaderText(std::string& out, std::string_view text) {
  for (const char c : text) {
    if (c != '\r' && c != '\n' && c != '\0') out.push_back(c);
  }
}

bool HasHeader(const std::vector<HttpHeader>& headers, std::string_view name) {
  return std::any_of(headers.begin(), headers.end(), [name](const HttpHeader& header) {
    return EqualsIgnoringCase(header.name, name);
  });
}

}  // namespace

std::string WriteHttpRequest(std::string_view method, const Url& base, std::string_view path,
                             const std::vector<HttpHeader>& headers, std::string_view body) {
  std::string out;
  out.reserve(256 + body.size());
  out.append(method).append(" ").append(base.path).append(path).append(" HTTP/1.1\r\nHost: ");
  out.append(base.Authority()).append("\r\n");
  for (const HttpHeader& header : headers) {
    AppendHeaderText(out, header.name);
    out.append(": ");
    AppendHeaderText(out, header.value);
    out.append("\r\n");
  }
  if (method != "GET") {
    if (!HasHeader(headers, "Content-Type")) out.append("Content-Type: application/json\r\n");
    out.append("Content-Length: ").append(std::to_string(body.size())).append("\r\n");
  }
  out.append("\r\n").append(body);
  return out;
}

// Owns the connection and what is read from it.
class HttpClient::Impl {
 public:
  Impl(Url base, std::vector<HttpHeader> headers, std::chrono::milliseconds timeout)
      : base_(std::move(base)), headers_(std::move(headers)), timeout_(timeout) {}

  Result<HttpReply> Request(std::string_view method, std::string_view path, std::string_view body);

 private:
  Error Fault(const std::string& why) const {
    return Error{ErrorKind::kUnavailable, "http://" + base_.Authority() + ": " + why, "", ""};
  }
  Error Late() const { return Fault("no answer in time"); }
  Status Connect(TimePoint deadline);
  bool Await(short events, TimePoint deadline);  // false: the deadline came first
  Status Send(std::string_view request, TimePoint deadline);
  Status Receive(TimePoint deadline);
  Status Exchange(std::string_view request, TimePoint deadline);

  Url base_;
  std::vector<HttpHeader> headers_;
  std::chrono::milliseconds timeout_;
  std::vector<TcpAddress> addresses_;
  TcpSocket socket_;
  HttpResponseParser parser_;
  std::string body_;
};

bool HttpClient::Impl::Await(short events, TimePoint deadline) {
  while (true) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Now()).count();
    pollfd entry{socket_.fd(), events, 0};
    const int wait = static_cast<int>(std::clamp<std::int64_t>(left, 0, 3'600'000));
    const int n = ::poll(&entry, 1, wait);
    if (n > 0) return true;
    if (n < 0 && errno != EINTR) return true;  // the transfer that follows says what is wrong
    if (Now() >= deadline) return false;
  }
}

Status HttpClient::Impl::Connect(TimePoint deadline) {
  if (addresses_.empty()) {
    auto addresses = ResolveTcp(base_.host, base_.port);
    if (!addresses) return addresses.error();
    addresses_ = std::move(*addresses);
  }
  int error = 0;
  for (const TcpAddress& address : addresses_) {
    error = socket_.StartConnect(address);
    if (error != 0) continue;
    if (!Await(POLLOUT, deadline)) {
      socket_.Close();
      return Late();
    }
    error = socket_.ConnectError();
    if (error == 0) return {};
    socket_.Close();
  }
  return Fault(SystemErrorText(error));
}

Status HttpClient::Impl::Send(std::string_view request, TimePoint deadline) {
  while (!request.empty()) {
    const auto sent = socket_.Write(request);
    if (sent.state == TcpSocket::State::kError) return Fault(SystemErrorText(sent.error));
    request.remove_prefix(sent.num_bytes);
    if (sent.state == TcpSocket::State::kWouldBlock && !Await(POLLOUT, deadline)) return Late();
  }
  return {};
}

Status HttpClient::Impl::Receive(TimePoint deadline) {
  std::array<char, 16384> buffer;
  while (!parser_.done() && parser_.fault().empty()) {
    if (!Await(POLLIN, deadline)) return Late();
    const auto got = socket_.Read(buffer);
    if (got.state == TcpSocket::State::kError) return Fault(SystemErrorText(got.error));
    if (got.state == TcpSocket::State::kWouldBlock) continue;
    if (got.state == TcpSocket::State::kEnd) {
      parser_.OnEndOfStream();
      break;
    }
    const std::string_view bytes(buffer.data(), got.num_bytes);
    const std::size_t taken = parser_.Feed(bytes, &body_);
    if (parser_.done() && taken < bytes.size()) socket_.Close();  // nobody asked for more
  }
  return parser_.done() ? Status() : Status(Fault(parser_.fault()));
}

Status HttpClient::Impl::Exchange(std::string_view request, TimePoint deadline) {
  parser_.Reset();
  body_.clear();
  if (!socket_.valid()) QUIRE_RETURN_IF_ERROR(Connect(deadline));
  const Status sent = Send(request, deadline);
  const Status received = Receive(deadline);  // even so: it may say why it did not want the rest
  return received.ok() || sent.ok() ? received : sent;
}

Result<HttpReply> HttpClient::Impl::Request(std::string_view method, std::string_view path,
                                            std::string_view body) {
  const TimePoint deadline = Now() + timeout_;
  const std::string request = WriteHttpRequest(method, base_, path, headers_, body);
  const bool kept = socket_.valid();
  Status status = Exchange(request, deadline);
  // The server may have closed a kept connection while the request was on its way.
  if (!status && kept && !parser_.started() && Now() < deadline) {
    socket_.Close();
    status = Exchange(request, deadline);
  }
  if (!status || !parser_.head().keep_alive) socket_.Close();
  if (!status) return status.error();
  return HttpReply{parser_.head().status, parser_.head().headers, std::move(body_)};
}

HttpClient::HttpClient(Url base, std::vector<HttpHeader> headers, std::chrono::milliseconds timeout)
    : impl_(std::make_unique<Impl>(std::move(base), std::move(headers), timeout)) {}
HttpClient::~HttpClient() = default;
HttpClient::HttpClient(HttpClient&&) noexcept = default;
HttpClient& HttpClient::operator=(HttpClient&&) noexcept = default;

Result<HttpReply> HttpClient::Get(std::string_view path) { return impl_->Request("GET", path, ""); }

Result<HttpReply> HttpClient::PostJson(std::string_view path, std::string_view json) {
  return impl_->Request("POST", path, json);
}

}  // namespace quire
