// Bytes from a broken peer: the decoder must refuse or understand them, and what it understood must
// encode to the same bytes. The frame cutter gets the same bytes in two pieces.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "ipc/codec.h"
#include "ipc/frame.h"

namespace {

void CheckDecode(std::string_view frame) {
  const auto message = quire::Decode(frame);
  if (!message) return;
  const auto again = quire::Encode(*message);
  QUIRE_CHECK(again.ok());
  QUIRE_CHECK(*again == frame);
}

void CheckFrames(std::string_view bytes) {
  quire::FrameAssembler assembler;
  const std::size_t middle = bytes.size() / 2;
  for (const std::string_view piece : {bytes.substr(0, middle), bytes.substr(middle)}) {
    assembler.Append(piece);
    while (true) {
      const auto frame = assembler.Next();
      if (!frame) return;
      if (!frame->has_value()) break;
      CheckDecode(**frame);
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  CheckDecode(bytes);
  CheckFrames(bytes);
  return 0;
}
