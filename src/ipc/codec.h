// Messages as bytes and back: a fixed binary layout, one frame a message, every value at its place,
// every list behind its length. Frame: magic u32, version u16, type u16, payload bytes u32,
// payload; little-endian.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "ipc/message.h"

namespace quire {

inline constexpr std::size_t kFrameHeaderBytes = 12;
inline constexpr std::size_t kMaxFrameBytes = std::size_t{128} << 20;  // header included

// A whole frame. An error where a list is longer, or a number other, than Decode accepts: so what
// was encoded is always understood.
Result<std::string> Encode(const Message& message);
// The same without a copy into a Message.
Result<std::string> Encode(const Request& request);
Result<std::string> Encode(const EngineReport& report);

// A whole frame as Encode made it. Bytes from a broken peer are an error, whatever they are. What
// is accepted encodes to the same bytes again.
Result<Message> Decode(std::string_view frame);

// The size of the frame that begins with these kFrameHeaderBytes or more. An error means that this
// is no beginning of a frame, so the rest of the stream cannot be read either.
Result<std::size_t> FrameBytes(std::string_view header);

}  // namespace quire
