#include "text/tokenizer_normalizer.h"

#include <gtest/gtest.h>

#include <chrono>

namespace quire {
namespace {

std::string Normalize(const std::string& type, const std::string& text) {
  const Json json = {{"type", type}};
  const auto normalizer = Normalizer::Parse(JsonView(json, "tokenizer.json"));
  EXPECT_TRUE(normalizer.ok()) << normalizer.error().message;
  return normalizer->Apply(text);
}

TEST(Normalizer, UnicodeForms) {
  EXPECT_EQ(Normalize("NFC", "e\u0301 \u1100\u1161\u11A8 \u212B"), "é 각 Å");
  EXPECT_EQ(Normalize("NFC", "q\u0307\u0323"), "q\u0323\u0307");
  EXPECT_EQ(Normalize("NFD", "é각"), "e\u0301\u1100\u1161\u11A8");
  EXPECT_EQ(Normalize("NFKC", "ﬁ①Å"), "fi1Å");
  EXPECT_EQ(Normalize("NFKD", "ﬁ\u00C5"), "fiA\u030A");
  EXPECT_EQ(Normalize("NFC", std::string("\0a\0", 3)), std::string("\0a\0", 3));
}

TEST(Normalizer, KnowsNoMarksThatAreNewerThanTheLibrarysTables) {
  // U+0898 has a combining class since Unicode 14; there it begins anew.
  EXPECT_EQ(Normalize("NFC", "a\u0898\u0301"), "a\u0898\u0301");
  EXPECT_EQ(Normalize("NFC", "a\u0301\u0898\u0323\u0301"), "á\u0898\u0323\u0301");
}

TEST(Normalizer, Letters) {
  EXPECT_EQ(Normalize("Lowercase", "ÀΣİß"), "àσi\u0307ß");
  EXPECT_EQ(Normalize("StripAccents", "a\u0301e\u0323"), "ae");
  EXPECT_EQ(Normalize("Strip", " \u3000a b\n"), "a b");
}

TEST(Normalizer, ManyMarksAreSortedFast) {
  std::string text = "a";
  for (int i = 0; i < 100'000; ++i) text += i < 50'000 ? "\u0301" : "\u0316";
  const auto start = std::chrono::steady_clock::now();
  const std::string sorted = Normalize("NFC", text);
  // Swapping neighbours would take 2.5·10⁹ steps.
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(1));
  EXPECT_EQ(sorted.substr(0, 3), "á\xCC");
}

}  // namespace
}  // namespace quire
