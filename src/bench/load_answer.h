// LoadAnswer: what comes back for one request, and when.
#pragma once

#include <string>
#include <string_view>

#include "bench/request_record.h"
#include "net/http_response_parser.h"
#include "net/sse_parser.h"

namespace quire {

// Owns the record of a request while its answer comes in. Times are seconds from the run's start.
class LoadAnswer {
 public:
  LoadAnswer(RequestRecord record, bool keep_text)
      : record_(std::move(record)), keep_text_(keep_text) {}

  const RequestRecord& record() const { return record_; }
  bool failed() const { return !record_.error.empty(); }
  bool ended() const { return saw_end_; }  // [DONE] came: nothing that follows can spoil it

  void OnSent(double now_s) { record_.sent_s = now_s; }
  void OnHead(const HttpResponseHead& head);
  int OnBody(std::string_view piece, double now_s);  // how many events with choices it ended
  void Fail(std::string error);                      // of several the first counts

  // The record, once the answer has ended or failed.
  RequestRecord Finish() &&;

 private:
  void OnEvent(std::string_view data, double now_s);
  void OnTokens(double now_s);

  RequestRecord record_;
  bool keep_text_;
  SseParser events_;
  bool is_stream_ = false;
  std::string reason_;
  std::string other_body_;  // the beginning of one that is not a stream
  double last_s_ = 0;       // of the last event with choices
  int num_events_ = 0;
  bool has_usage_ = false;
  bool saw_end_ = false;
};

}  // namespace quire
