// Feeds bytes to the parser of safetensors headers; the first eight bytes of input stand for the
// size of the file, so that lengths on both sides of what there is are reached.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "weights/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < sizeof(std::uint64_t)) return 0;
  std::uint64_t file_size = 0;
  std::memcpy(&file_size, data, sizeof(file_size));
  const std::string_view bytes(reinterpret_cast<const char*>(data) + sizeof(file_size),
                               size - sizeof(file_size));
  const auto header = quire::ParseSafetensorsHeader(bytes, file_size, "model.safetensors");
  if (!header) {
    if (header.error().message.empty()) std::abort();
    return 0;
  }
  // What was accepted keeps its promise: data without gaps from the header to the end of the file.
  std::uint64_t at = 0;
  for (const quire::SafetensorsEntry& entry : header->tensors) {
    if (entry.begin != at || entry.end < entry.begin) std::abort();
    at = entry.end;
  }
  if (header->data_start + at != file_size) std::abort();
  return 0;
}
