#include "bench/load_answer.h"

#include <algorithm>
#include <utility>

#include "bench/stream_event.h"

namespace quire {
namespace {

constexpr std::size_t kOtherBodyBytes = 16 << 10;

}  // namespace

void LoadAnswer::OnHead(const HttpResponseHead& head) {
  record_.status = head.status;
  reason_ = head.reason;
  const std::string_view type = head.Header("Content-Type").value_or("");
  is_stream_ =
      head.status == 200 && EqualsIgnoringCase(type.substr(0, type.find(';')), "text/event-stream");
}

int LoadAnswer::OnBody(std::string_view piece, double now_s) {
  if (!is_stream_) {
    other_body_.append(piece.substr(0, kOtherBodyBytes - other_body_.size()));
    return 0;
  }
  const int before = num_events_;
  const double now = now_s;
  if (!events_.Feed(piece, [this, now](std::string_view data) { OnEvent(data, now); })) {
    Fail("an event of the stream is too large");
  }
  return num_events_ - before;
}

void LoadAnswer::OnEvent(std::string_view data, double now_s) {
  if (failed() || saw_end_) return;
  if (data == "[DONE]") {
    saw_end_ = true;
    return;
  }
  if (!keep_text_ && LookAtStreamEvent(data).is_plain) {
    OnTokens(now_s);
    return;
  }
  const auto event = ReadStreamEvent(data);
  if (!event) {
    Fail("an event of the stream is not JSON");
    return;
  }
  if (!event->error.empty()) {
    Fail("error event: " + event->error);
    return;
  }
  if (event->has_choices) OnTokens(now_s);
  if (keep_text_) record_.text += event->text;
  if (!event->finish_reason.empty()) record_.finish_reason = event->finish_reason;
  if (event->has_usage) {
    has_usage_ = true;
    record_.output_tokens = event->completion_tokens;
    record_.cached_tokens = event->cached_tokens;
    if (event->prompt_tokens > 0) record_.input_tokens = event->prompt_tokens;
  }
}

void LoadAnswer::OnTokens(double now_s) {
  if (num_events_ == 0) {
    record_.ttft_s = now_s - record_.start_s;
  } else {
    record_.itl.push_back(static_cast<float>(now_s - last_s_));
  }
  record_.latency_s = now_s - record_.start_s;
  last_s_ = now_s;
  ++num_events_;
}

void LoadAnswer::Fail(std::string error) {
  if (!failed() && !saw_end_) record_.error = std::move(error);
}

RequestRecord LoadAnswer::Finish() && {
  if (!failed() && record_.status != 200) {
    record_.error = "HTTP " + std::to_string(record_.status);
    if (!reason_.empty()) record_.error += " " + reason_;
    if (const std::string text = ErrorTextOf(other_body_); !text.empty()) {
      record_.error += ": " + text;
    }
  } else if (!failed() && !is_stream_) {
    record_.error = "the answer is not a stream of events";
  } else if (!failed() && num_events_ == 0) {
    record_.error = "the stream ended without an event that has choices";
  }
  if (!has_usage_) record_.output_tokens = num_events_;
  return std::move(record_);
}

}  // namespace quire
