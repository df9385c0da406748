// Element types of tensors and the devices that they lie on.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace quire {

enum class DType : std::uint8_t { kF32, kBF16, kF16, kI32, kI64, kU8, kI8 };

constexpr std::size_t SizeOf(DType dtype) {
  switch (dtype) {
    case DType::kI64:
      return 8;
    case DType::kF32:
    case DType::kI32:
      return 4;
    case DType::kBF16:
    case DType::kF16:
      return 2;
    case DType::kU8:
    case DType::kI8:
      return 1;
  }
  return 0;
}

const char* Name(DType dtype);  // "float32", "bfloat16", …

enum class DeviceKind : std::uint8_t { kCpu, kCuda };

struct Device {
  DeviceKind kind = DeviceKind::kCpu;
  int ordinal = 0;
  friend bool operator==(const Device&, const Device&) = default;
};

// Conversions of one element, round to nearest even. Infinities and NaNs stay what they are.
inline float BF16ToFloat(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}
std::uint16_t FloatToBF16(float value);
float F16ToFloat(std::uint16_t bits);
std::uint16_t FloatToF16(float value);

}  // namespace quire
