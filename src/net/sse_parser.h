// SseParser: server-sent events (WHATWG HTML, 9.2) from pieces of a body.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

namespace quire {

// Owns the line and the event that are being gathered. An event whose data is one line within one
// piece is handed on without a copy. Names, ids and comments are read over.
class SseParser {
 public:
  using OnData = std::function<void(std::string_view data)>;

  explicit SseParser(std::size_t max_event_bytes = 16 << 20) : max_event_bytes_(max_event_bytes) {}

  // Calls `on_data` with the data of each event that ends in `piece`. False: an event, or a line,
  // is larger than the limit; so is every call after it.
  bool Feed(std::string_view piece, const OnData& on_data);

 private:
  void OnLine(std::string_view line, bool in_piece, const OnData& on_data);
  void OnFirstLine(std::string_view* line);
  void KeepView();

  std::size_t max_event_bytes_;
  std::string line_;       // the part of a line that earlier pieces ended in
  std::string data_;       // of the event, where it could not stay a view
  std::string_view view_;  // of the event's only data line, in the piece being fed
  bool has_data_ = false;
  bool in_view_ = false;
  bool behind_cr_ = false;  // a LF now belongs to the line before
  bool at_start_ = true;    // of the stream, where a byte order mark may stand
  bool failed_ = false;
};

}  // namespace quire
