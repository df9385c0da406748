#include "server/http_connection.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "base/log.h"
#include "server/http_connection_text.h"

namespace quire {
namespace {

constexpr std::size_t kBacklogBytes =
    64 << 10;  // read ahead of an answer; then the client has to wait
constexpr std::chrono::milliseconds kLingerTime{3'000};
constexpr std::chrono::milliseconds kDrainingLingerTime{300};
constexpr std::size_t kLingerBytes =
    32 << 20;  // a client that sends a body too large reads the answer after it

bool IsContentEncoded(const HttpHead& head) {
  return std::any_of(head.headers.begin(), head.headers.end(), [](const HttpHeader& header) {
    return EqualsIgnoringCase(header.name, "Content-Encoding") &&
           !EqualsIgnoringCase(header.value, "identity");
  });
}

}  // namespace

HttpConnection::HttpConnection(Socket socket, const HttpService& service,
                               std::function<void()> on_end)
    : socket_(std::move(socket)),
      timer_(socket_.get_executor()),
      service_(service),
      on_end_(std::move(on_end)),
      parser_(service.limits),
      decoder_(service.limits) {
  asio::error_code ignored;
  socket_.set_option(asio::ip::tcp::no_delay(true), ignored);
}

HttpConnection::~HttpConnection() {
  if (answer_) answer_->Close();
  on_end_();
}

void HttpConnection::Start() {
  asio::post(socket_.get_executor(), [self = shared_from_this()] {
    if (self->phase_ == Phase::kClosed) return;
    self->NextRequest();
  });
}

void HttpConnection::Refuse() {
  asio::post(socket_.get_executor(), [self = shared_from_this()] {
    if (self->phase_ == Phase::kClosed) return;
    HttpResponse response;
    response.status = 503;
    response.headers = {{"Retry-After", "1"}};
    response.body = self->service_.error_body(503, "there are too many connections");
    response.close = true;
    self->Answer(std::move(response));
    self->Read();
  });
}

void HttpConnection::Drain() {
  asio::post(socket_.get_executor(), [self = shared_from_this()] {
    self->draining_ = true;
    if (self->phase_ == Phase::kHead && !self->parser_.started()) self->Close();
    if (self->phase_ == Phase::kLinger) self->SetDeadline(kDrainingLingerTime);
  });
}

void HttpConnection::Kill() {
  asio::post(socket_.get_executor(), [self = shared_from_this()] { self->Close(); });
}

// ---- input

void HttpConnection::Read() {
  if (reading_ || input_ended_ || phase_ == Phase::kClosed) return;
  if (backlog_full()) return WatchForReset();
  reading_ = true;
  socket_.async_read_some(asio::buffer(read_buffer_),
                          [self = shared_from_this()](const asio::error_code& error,
                                                      std::size_t n) { self->OnRead(error, n); });
}

void HttpConnection::OnRead(const asio::error_code& error, std::size_t num_bytes) {
  reading_ = false;
  if (phase_ == Phase::kClosed) return;
  if (error) return OnEndOfInput(error);
  OnInput({read_buffer_.data(), num_bytes});
  Read();
}

void HttpConnection::OnInput(std::string_view bytes) {
  // Where a request is being read, the backlog is empty.
  bytes.remove_prefix(Consume(bytes));
  if (bytes.empty() || phase_ == Phase::kClosed) return;
  if (phase_ == Phase::kLinger || close_after_) {
    num_dropped_ += bytes.size();
    if (num_dropped_ > kLingerBytes) Reset();
    return;
  }
  backlog_.erase(0, std::exchange(backlog_at_, 0));
  backlog_ += bytes;
}

void HttpConnection::OnEndOfInput(const asio::error_code& error) {
  // A client that has only closed its sending side counts as gone too: few wait for an answer like
  // that, and most that are gone look like that.
  input_ended_ = true;
  if (phase_ == Phase::kFinish && error == asio::error::eof) return;
  Close();
}

void HttpConnection::WatchForReset() {
  if (watching_) return;
  watching_ = true;
  socket_.async_wait(Socket::wait_error,
                     [self = shared_from_this()](const asio::error_code& error) {
                       self->watching_ = false;
                       if (error || self->phase_ == Phase::kClosed) return;
                       self->Close();
                     });
}

bool HttpConnection::backlog_full() const {
  return backlog_.size() - backlog_at_ >= kBacklogBytes && phase_ != Phase::kLinger &&
         !close_after_;
}

std::size_t HttpConnection::Consume(std::string_view bytes) {
  std::size_t at = 0;
  while (at < bytes.size() && (phase_ == Phase::kHead || phase_ == Phase::kBody)) {
    const std::string_view rest = bytes.substr(at);
    at += phase_ == Phase::kHead ? ConsumeHead(rest) : ConsumeBody(rest);
  }
  return at;
}

std::size_t HttpConnection::ConsumeHead(std::string_view bytes) {
  const std::size_t taken = parser_.Feed(bytes);
  if (parser_.fault()) {
    Fail(*parser_.fault());
  } else if (parser_.done()) {
    OnHead(taken < bytes.size());
  } else if (parser_.started() && !timing_head_) {
    timing_head_ = true;
    SetDeadline(service_.limits.header_timeout);
  }
  return taken;
}

std::size_t HttpConnection::ConsumeBody(std::string_view bytes) {
  if (request_.chunked) {
    const std::size_t taken = decoder_.Feed(bytes, &body_);
    if (decoder_.fault()) {
      Fail(*decoder_.fault());
    } else if (decoder_.done()) {
      Dispatch();
    }
    return taken;
  }
  const auto missing = static_cast<std::size_t>(request_.content_length) - body_.size();
  const std::size_t taken = std::min(missing, bytes.size());
  body_.append(bytes.substr(0, taken));
  if (taken == missing) Dispatch();
  return taken;
}

// ---- a request

void HttpConnection::NextRequest() {
  phase_ = Phase::kHead;
  parser_ = HttpRequestParser(service_.limits);
  decoder_ = HttpChunkedDecoder(service_.limits);
  answer_.reset();
  request_id_.clear();
  body_ = std::string();
  is_head_ = streaming_ = timing_head_ = false;
  SetDeadline(service_.limits.keep_alive_timeout);
  backlog_at_ += Consume(std::string_view(backlog_).substr(backlog_at_));
  if (backlog_at_ == backlog_.size()) {
    backlog_ = std::string();
    backlog_at_ = 0;
  }
  Read();
}

void HttpConnection::OnHead(bool more_input) {
  request_ = parser_.Take();
  const HttpHead& head = request_.head;
  keep_alive_ = request_.keep_alive;
  chunked_answer_ = request_.minor_version > 0;
  is_head_ = head.method == "HEAD";
  const auto id = head.Header("X-Request-Id");
  const bool take_id = id && head.Count("X-Request-Id") == 1 && IsRequestId(*id);
  request_id_ = take_id ? std::string(*id) : NewRequestId();

  if (auto refusal = service_.check(head)) {
    // Its body may be on the way, and is not wanted.
    refusal->close = refusal->close || request_.has_body();
    return Answer(std::move(*refusal));
  }
  if (const auto fault = UnacceptableBody()) return Fail(*fault);
  if (!request_.has_body()) return Dispatch();
  phase_ = Phase::kBody;
  SetDeadline(service_.limits.body_timeout);
  if (request_.expectation == HttpRequestHead::Expectation::kContinue && !more_input) {
    Send("HTTP/1.1 100 Continue\r\n\r\n");
  }
}

std::optional<HttpFault> HttpConnection::UnacceptableBody() const {
  if (request_.expectation == HttpRequestHead::Expectation::kUnknown) {
    return HttpFault{417, "the only expectation that can be met is '100-continue'"};
  }
  if (request_.content_length > service_.limits.body_bytes) {
    return HttpFault{413, "the body is too large"};
  }
  if (IsContentEncoded(request_.head)) {
    return HttpFault{415, "a body with a Content-Encoding is not supported"};
  }
  return std::nullopt;
}

void HttpConnection::Dispatch() {
  phase_ = Phase::kAnswer;
  ClearDeadline();
  answer_ =
      std::make_shared<HttpAnswer>(service_.limits.write_buffer_bytes,
                                   [weak = weak_from_this(), executor = socket_.get_executor()] {
                                     asio::post(executor, [weak] {
                                       if (const auto self = weak.lock()) self->Flush();
                                     });
                                   });
  auto exchange = std::make_shared<HttpRequestExchange>(std::move(request_.head), std::move(body_),
                                                        request_id_, answer_);
  try {
    service_.handler(std::move(exchange));
  } catch (const std::exception& error) {  // the exchange is dropped, so that it is answered
    LogError("a request's handler failed: {}", error.what());
  }
}

void HttpConnection::Fail(const HttpFault& fault) {
  HttpResponse response;
  response.status = fault.status;
  response.body = service_.error_body(fault.status, fault.message);
  response.close = true;
  Answer(std::move(response));
}

// ---- its answer

void HttpConnection::Flush() {
  if (phase_ != Phase::kAnswer) return;
  if (answer_->overflowed()) return Reset();
  if (!writing_.empty()) return;  // what comes meanwhile goes out together behind it
  HttpAnswer::Output output = answer_->Take();
  if (output.abandoned && (streaming_ || output.stream_type)) return Reset();
  if (output.abandoned) return Fail({500, "the request was not answered"});
  if (output.response) return Answer(std::move(*output.response));
  std::string text;
  if (output.stream_type) {
    streaming_ = true;
    HttpAnswerHead head;
    head.content_type = *output.stream_type;
    head.request_id = request_id_;
    head.close = !keep_alive_ || draining_;
    text = StreamAnswerHead(head, chunked_answer_);
  }
  if (!output.data.empty() && !is_head_) {
    if (chunked_answer_) {
      AppendHttpChunk(output.data, &text);
    } else {
      text += output.data;
    }
  }
  if (output.end) {
    if (chunked_answer_ && !is_head_) text += "0\r\n\r\n";
    return Finish(std::move(text), !keep_alive_ || draining_);
  }
  if (!text.empty()) Send(std::move(text));
}

void HttpConnection::Answer(HttpResponse response) {
  if (request_id_.empty()) request_id_ = NewRequestId();
  HttpAnswerHead head;
  head.status = response.status;
  head.content_type = response.content_type;
  head.request_id = request_id_;
  head.headers = &response.headers;
  head.close = response.close || !keep_alive_ || draining_;
  std::string text = WholeAnswerHead(head, response.body.size());
  if (!is_head_ && HttpStatusHasBody(response.status)) text += response.body;
  Finish(std::move(text), head.close);
}

void HttpConnection::Finish(std::string text, bool close) {
  phase_ = Phase::kFinish;
  close_after_ = close;
  Send(std::move(text));
}

void HttpConnection::Send(std::string text) {
  if (phase_ == Phase::kAnswer || phase_ == Phase::kFinish) {
    SetDeadline(service_.limits.write_timeout);
  }
  if (!writing_.empty()) {
    unwritten_ += text;
    return;
  }
  writing_ = std::move(text);
  WriteSome();
}

void HttpConnection::WriteSome() {
  socket_.async_write_some(
      asio::buffer(writing_.data() + written_, writing_.size() - written_),
      [self = shared_from_this()](const asio::error_code& error, std::size_t n) {
        self->OnWritten(error, n);
      });
}

void HttpConnection::OnWritten(const asio::error_code& error, std::size_t num_bytes) {
  if (phase_ == Phase::kClosed) return;
  if (error) return Close();
  written_ += num_bytes;
  if (written_ == writing_.size()) {
    writing_ = std::exchange(unwritten_, std::string());
    written_ = 0;
  }
  if (!writing_.empty()) {
    if (phase_ != Phase::kBody) SetDeadline(service_.limits.write_timeout);
    return WriteSome();
  }
  if (phase_ == Phase::kAnswer) {
    answer_->Sent();
    ClearDeadline();
    return Flush();
  }
  if (phase_ != Phase::kFinish) return;
  if (answer_) answer_->Close();
  if (close_after_ || draining_) return Linger();
  if (input_ended_) return Close();
  NextRequest();
}

// ---- the end, and time

void HttpConnection::Linger() {
  if (input_ended_) return Close();
  asio::error_code ignored;
  socket_.shutdown(Socket::shutdown_send, ignored);
  phase_ = Phase::kLinger;
  SetDeadline(draining_ ? kDrainingLingerTime : kLingerTime);
  Read();  // it may have stopped at a full backlog
}

void HttpConnection::Reset() {
  asio::error_code ignored;
  socket_.set_option(asio::socket_base::linger(true, 0), ignored);
  Close();
}

void HttpConnection::Close() {
  if (phase_ == Phase::kClosed) return;
  phase_ = Phase::kClosed;
  asio::error_code ignored;
  socket_.close(ignored);
  timer_.cancel();
  if (answer_) answer_->Close();
}

void HttpConnection::SetDeadline(std::chrono::milliseconds from_now) {
  deadline_ = Now() + from_now;
  if (deadline_ < timer_at_) ArmTimer();
}

void HttpConnection::ArmTimer() {
  // A deadline mostly moves back before it is reached; so the timer is left to fire and looks
  // again.
  timer_at_ = deadline_;
  timer_.expires_at(timer_at_);
  timer_.async_wait([weak = weak_from_this()](const asio::error_code& error) {
    const auto self = weak.lock();
    if (error || !self || self->phase_ == Phase::kClosed) return;
    self->timer_at_ = TimePoint::max();
    if (self->deadline_ <= Now()) return self->OnDeadline();
    if (self->deadline_ < TimePoint::max()) self->ArmTimer();
  });
}

void HttpConnection::OnDeadline() {
  ClearDeadline();
  if (phase_ == Phase::kBody) return Fail({408, "the body did not come in time"});
  if (phase_ == Phase::kHead && parser_.started()) {
    return Fail({408, "the header did not come in time"});
  }
  if (phase_ == Phase::kAnswer || phase_ == Phase::kFinish) return Reset();
  Close();
}

}  // namespace quire
