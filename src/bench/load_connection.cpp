#include "bench/load_connection.h"

#include <utility>

namespace quire {

void LoadConnection::Assign(std::unique_ptr<LoadExchange> exchange) {
  exchange_ = std::move(exchange);
  parser_.Reset();
  num_sent_ = 0;
  reusable_ = false;
}

void LoadConnection::SendMore() {
  while (has_unsent()) {
    const auto sent = socket_.Write(std::string_view(exchange_->request).substr(num_sent_));
    if (sent.state == TcpSocket::State::kWouldBlock) return;
    // What the server has said before it closed, if anything, is read; a socket that never came
    // into being is told by ConnectError.
    send_error_ = sent.error;
    connected_ = connected_ || send_error_ == 0;
    num_sent_ += sent.num_bytes;
  }
}

LoadConnection::Step LoadConnection::Receive(double now_s, std::span<char> buffer,
                                             std::string* body, int* num_tokens) {
  const auto got = socket_.Read(buffer);
  switch (got.state) {
    case TcpSocket::State::kWouldBlock:
      return Step::kGoingOn;
    case TcpSocket::State::kDone:
      connected_ = true;
      return OnBytes({buffer.data(), got.num_bytes}, now_s, body, num_tokens);
    case TcpSocket::State::kError:
      return OnClosed(SystemErrorText(got.error));
    case TcpSocket::State::kEnd:
      break;
  }
  return OnClosed("");
}

LoadConnection::Step LoadConnection::OnBytes(std::string_view bytes, double now_s,
                                             std::string* body, int* num_tokens) {
  if (!exchange_) return Step::kFailed;  // nobody asked
  const bool had_head = parser_.has_head();
  body->clear();
  const std::size_t taken = parser_.Feed(bytes, body);
  LoadAnswer& answer = exchange_->answer;
  if (parser_.has_head() && !had_head) answer.OnHead(parser_.head());
  *num_tokens += answer.OnBody(*body, now_s);
  if (!parser_.fault().empty()) answer.Fail(parser_.fault());
  if (answer.failed()) return Step::kFailed;
  if (!parser_.done()) {
    return parser_.fault().empty() ? Step::kGoingOn : Step::kAnswered;
  }
  kept_ = true;
  reusable_ =
      parser_.head().keep_alive && !has_unsent() && send_error_ == 0 && taken == bytes.size();
  return Step::kAnswered;
}

LoadConnection::Step LoadConnection::OnClosed(const std::string& error) {
  if (!exchange_) return Step::kFailed;
  if (kept_ && !parser_.started() && !exchange_->retried) return Step::kLost;
  parser_.OnEndOfStream();
  if (parser_.done()) return Step::kAnswered;
  exchange_->answer.Fail(error.empty() ? parser_.fault() : error);
  return exchange_->answer.failed() ? Step::kFailed : Step::kAnswered;
}

}  // namespace quire
