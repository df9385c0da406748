#include "net/http_chunked_decoder.h"

#include <algorithm>

namespace quire {
namespace {

constexpr std::size_t kSizeDigits = 16;  // what 64 bits hold

std::uint64_t HexValue(char c) {
  if (c <= '9') return static_cast<std::uint64_t>(c - '0');
  return static_cast<std::uint64_t>((c | 0x20) - 'a' + 10);
}

}  // namespace

std::size_t HttpChunkedDecoder::Feed(std::string_view bytes, std::string* body) {
  std::size_t at = 0;
  while (at < bytes.size() && !done() && !fault_) {
    const std::string_view rest = bytes.substr(at);
    switch (phase_) {
      case Phase::kSize:
        at += FeedSize(rest, body->size());
        break;
      case Phase::kData:
        at += FeedData(rest, body);
        break;
      case Phase::kDataEnd:
        at += FeedDataEnd(rest);
        break;
      case Phase::kTrailers:
        at += trailers_.Feed(rest);
        fault_ = trailers_.fault();
        if (trailers_.done()) phase_ = Phase::kDone;
        break;
      case Phase::kDone:
        break;
    }
  }
  return at;
}

std::size_t HttpChunkedDecoder::FeedSize(std::string_view bytes, std::size_t body_size) {
  const std::size_t taken = line_.Feed(bytes, kSizeDigits + limits_.header_bytes);
  switch (line_.state()) {
    case HttpLineReader::State::kPartial:
      break;
    case HttpLineReader::State::kBadByte:
      fault_ = HttpFault{400, "the line of a chunk's size is malformed"};
      break;
    case HttpLineReader::State::kTooLong:
      fault_ = HttpFault{400, "the extension of a chunk is too long"};
      break;
    case HttpLineReader::State::kComplete:
      fault_ = OnSizeLine(line_.line(), body_size);
      line_.Reset();
      break;
  }
  return taken;
}

std::optional<HttpFault> HttpChunkedDecoder::OnSizeLine(std::string_view line,
                                                        std::size_t body_size) {
  std::size_t digits = 0;
  std::uint64_t size = 0;
  for (; digits < line.size() && IsHexDigit(line[digits]); ++digits) {
    if (digits == kSizeDigits) return HttpFault{400, "the size of a chunk is too large a number"};
    size = size * 16 + HexValue(line[digits]);
  }
  if (digits == 0 || (digits < line.size() && line[digits] != ';')) {
    return HttpFault{400, "the size of a chunk is not a hexadecimal number"};
  }
  extension_bytes_ += line.size() - digits;
  if (extension_bytes_ > limits_.headers_bytes) {
    return HttpFault{400, "the extensions of the chunks are too long"};
  }
  if (size == 0) {
    phase_ = Phase::kTrailers;
    return std::nullopt;
  }
  if (num_chunks_ >= limits_.num_chunks) return HttpFault{413, "the body has too many chunks"};
  if (size > limits_.body_bytes - std::min(limits_.body_bytes, body_size)) {
    return HttpFault{413, "the body is too large"};
  }
  ++num_chunks_;
  left_ = size;
  phase_ = Phase::kData;
  return std::nullopt;
}

std::size_t HttpChunkedDecoder::FeedData(std::string_view bytes, std::string* body) {
  const auto taken = static_cast<std::size_t>(std::min<std::uint64_t>(left_, bytes.size()));
  body->append(bytes.substr(0, taken));
  left_ -= taken;
  if (left_ == 0) phase_ = Phase::kDataEnd;
  return taken;
}

std::size_t HttpChunkedDecoder::FeedDataEnd(std::string_view bytes) {
  if (bytes.front() != (behind_cr_ ? '\n' : '\r')) {
    fault_ = HttpFault{400, "a chunk is not as long as it says"};
  } else if (behind_cr_) {
    phase_ = Phase::kSize;
  }
  behind_cr_ = !behind_cr_;
  return 1;
}

}  // namespace quire
