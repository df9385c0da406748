#include "net/sse_parser.h"

#include <algorithm>

namespace quire {
namespace {

constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";

}  // namespace

bool SseParser::Feed(std::string_view piece, const OnData& on_data) {
  std::size_t at = 0;
  std::size_t lf = piece.find('\n');  // the next one, so that lines ended by CR cost no second look
  while (at < piece.size() && !failed_) {
    if (behind_cr_) {
      behind_cr_ = false;
      if (piece[at] == '\n') {
        ++at;
        continue;
      }
    }
    if (lf != std::string_view::npos && lf < at) lf = piece.find('\n', at);
    const std::size_t limit = std::min(lf, piece.size());
    const std::size_t cr = piece.substr(at, limit - at).find('\r');
    const bool ends = cr != std::string_view::npos || lf != std::string_view::npos;
    const std::size_t end = cr != std::string_view::npos ? at + cr : limit;
    const std::string_view part = piece.substr(at, end - at);
    if (line_.size() + data_.size() + view_.size() + part.size() > max_event_bytes_) {
      failed_ = true;
    } else if (!ends) {
      line_.append(part);
      break;
    } else if (line_.empty()) {
      OnLine(part, true, on_data);
    } else {
      line_.append(part);
      OnLine(line_, false, on_data);
      line_.clear();
    }
    behind_cr_ = cr != std::string_view::npos;
    at = end + 1;
  }
  KeepView();
  return !failed_;
}

void SseParser::OnLine(std::string_view line, bool in_piece, const OnData& on_data) {
  if (at_start_) OnFirstLine(&line);
  if (line.empty()) {
    if (has_data_) on_data(in_view_ ? view_ : std::string_view(data_));
    data_.clear();
    view_ = {};
    has_data_ = in_view_ = false;
    return;
  }
  if (line.substr(0, 4) != "data" || (line.size() > 4 && line[4] != ':')) return;
  line.remove_prefix(std::min<std::size_t>(5, line.size()));
  if (!line.empty() && line.front() == ' ') line.remove_prefix(1);
  if (!has_data_ && in_piece) {
    view_ = line;
    in_view_ = true;
  } else {
    KeepView();
    if (has_data_) data_.push_back('\n');
    data_.append(line);
  }
  has_data_ = true;
}

void SseParser::OnFirstLine(std::string_view* line) {
  at_start_ = false;
  if (line->substr(0, kByteOrderMark.size()) == kByteOrderMark) {
    line->remove_prefix(kByteOrderMark.size());
  }
}

void SseParser::KeepView() {
  if (!in_view_) return;
  data_.assign(view_);
  view_ = {};
  in_view_ = false;
}

}  // namespace quire
