#include "tensor/tensor.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <limits>

namespace quire {
namespace {

TEST(DType, HalfConversionsRoundTripAndRoundToEven) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const float value = F16ToFloat(half);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(F16ToFloat(FloatToF16(value))));
      continue;
    }
    ASSERT_EQ(FloatToF16(value), half) << bits;
  }
  EXPECT_EQ(F16ToFloat(0x3C00), 1.0F);
  EXPECT_EQ(F16ToFloat(0x0001), 0x1p-24F);
  EXPECT_EQ(FloatToF16(1.0F + 0x1p-11F), 0x3C00);  // a tie goes to even
  EXPECT_EQ(FloatToF16(1.0F + 3 * 0x1p-11F), 0x3C02);
  EXPECT_EQ(FloatToF16(65519.0F), 0x7BFF);
  EXPECT_EQ(FloatToF16(65520.0F), 0x7C00);
}

TEST(DType, BFloatConversions) {
  EXPECT_EQ(FloatToBF16(1.0F), 0x3F80);
  EXPECT_EQ(FloatToBF16(1.0F + 0x1p-8F), 0x3F80);  // a tie goes to even
  EXPECT_EQ(FloatToBF16(1.0F + 3 * 0x1p-8F), 0x3F82);
  EXPECT_TRUE(std::isnan(BF16ToFloat(FloatToBF16(std::numeric_limits<float>::quiet_NaN()))));
  EXPECT_TRUE(std::isinf(BF16ToFloat(FloatToBF16(std::numeric_limits<float>::max()))));
}

TEST(Tensor, ViewsCutRowsAndColumns) {
  float values[12] = {};
  const Tensor all(values, DType::kF32, {3, 4});
  const Tensor rows = all.Rows(1, 2);
  EXPECT_EQ(rows.data<float>(), values + 4);
  EXPECT_TRUE(rows.dense());
  const Tensor columns = all.Columns(1, 2).Rows(2, 1);
  EXPECT_EQ(columns.data<float>(), values + 9);
  EXPECT_EQ(columns.row_stride(), 4);
  EXPECT_EQ(columns.row_size(), 2);
  EXPECT_EQ(all.Reshape({2, 6}).dim(1), 6);
}

TEST(Arena, GivesTheSameAddressesAfterReset) {
  Buffer buffer(std::malloc(4096), 4096, {}, [](void* data, std::size_t) { std::free(data); });
  Arena arena(std::move(buffer));
  const Tensor first = arena.Take(DType::kF32, {3, 5});
  const Tensor second = arena.Take(DType::kI32, {7});
  EXPECT_NE(first.raw(), second.raw());
  arena.Reset();
  EXPECT_EQ(arena.Take(DType::kF32, {3, 5}).raw(), first.raw());
  EXPECT_EQ(arena.Take(DType::kI32, {7}).raw(), second.raw());
}

}  // namespace
}  // namespace quire
