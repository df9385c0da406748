// What is said about one request, on its way from whoever answers to the connection.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "server/http.h"

namespace quire {

// Owns the part of an answer that the connection has not taken yet, and the callback for a client
// that leaves. Those who answer call from any thread, the connection from its strand.
class HttpAnswer {
 public:
  // `wake` tells the connection that there is something to take; it is called under a lock, and
  // never after Close. More than `buffer_bytes` that are written but not sent overflow.
  HttpAnswer(std::size_t buffer_bytes, std::function<void()> wake)
      : buffer_bytes_(buffer_bytes), wake_(std::move(wake)) {}

  void Respond(HttpResponse response);
  void StartStream(std::string content_type);
  void Write(std::string piece);
  void EndStream();
  void Abandon();  // nobody is left who could answer
  bool closed() const;
  void OnClosed(std::function<void()> callback);

  // More was written than the client reads: nothing further is taken, the connection is to be
  // broken off.
  bool overflowed() const;

  // What came since the last time.
  struct Output {
    std::optional<HttpResponse> response;
    std::optional<std::string> stream_type;  // the stream begins
    std::string data;                        // of the stream
    bool end = false;                        // of the stream
    bool abandoned = false;
  };
  Output Take();
  void Sent();   // the data that was taken last is on its way
  void Close();  // the client is gone, or has the whole answer

 private:
  enum class Phase : unsigned char { kOpen, kStream, kComplete };

  void Wake();  // under the lock

  const std::size_t buffer_bytes_;
  mutable std::mutex mutex_;
  std::function<void()> wake_;
  std::function<void()> on_closed_;
  Phase phase_ = Phase::kOpen;
  bool closed_ = false;
  bool cut_off_ = false;  // closed before it was complete
  bool overflowed_ = false;
  bool awake_ = false;  // the connection was told and has not taken yet
  std::size_t taken_bytes_ = 0;
  Output next_;
};

// The exchange that a handler is given. Owns the request; dropping the last reference abandons the
// answer.
class HttpRequestExchange final : public HttpExchange {
 public:
  HttpRequestExchange(HttpHead head, std::string body, std::string request_id,
                      std::shared_ptr<HttpAnswer> answer)
      : head_(std::move(head)),
        body_(std::move(body)),
        request_id_(std::move(request_id)),
        answer_(std::move(answer)) {}
  ~HttpRequestExchange() override { answer_->Abandon(); }
  HttpRequestExchange(const HttpRequestExchange&) = delete;
  HttpRequestExchange& operator=(const HttpRequestExchange&) = delete;

  const HttpHead& head() const override { return head_; }
  const std::string& body() const override { return body_; }
  const std::string& request_id() const override { return request_id_; }
  void Respond(HttpResponse response) override { answer_->Respond(std::move(response)); }
  void StartStream(std::string type) override { answer_->StartStream(std::move(type)); }
  void Write(std::string piece) override { answer_->Write(std::move(piece)); }
  void EndStream() override { answer_->EndStream(); }
  bool closed() const override { return answer_->closed(); }
  void OnClosed(std::function<void()> callback) override { answer_->OnClosed(std::move(callback)); }

 private:
  HttpHead head_;
  std::string body_;
  std::string request_id_;
  std::shared_ptr<HttpAnswer> answer_;
};

}  // namespace quire
