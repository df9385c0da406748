// Broken model folders are refused with a line that names what is broken.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "rank.h"
#include "weights/model_folder.h"

namespace quire::testing_models {
namespace {

namespace fs = std::filesystem;

// "" where the folder loads and answers.
std::string Refusal(const std::string& folder) {
  SoloCommunicator solo;
  RankOptions options;
  options.max_positions = 64;
  try {
    const Json config = ReadConfig(folder);
    const auto shape = ReadModelShape(config);
    if (!shape) return shape.error().message;
    RankUnderTest rank(config, OpenWeights(folder), solo, options);
    const TokenId ids[] = {1, 2, 3};
    return rank.Run(ids, 0).empty() ? "no logits" : "";
  } catch (const LoadError& error) {
    return error.what();
  }
}

TEST(BrokenModelsTest, AreRefusedByName) {
  const char* models = std::getenv("MODELS");
  const fs::path root = fs::path(models == nullptr ? "" : models) / "broken";
  if (models == nullptr || !fs::exists(root / "CASES.json"))
    GTEST_SKIP() << "MODELS does not name a folder with broken/CASES.json";
  const auto cases = ReadJsonFile(root / "CASES.json");
  ASSERT_TRUE(cases.ok());
  for (const auto& item : cases->items()) {
    const std::string answer = item.value()["answer"].get<std::string>();
    if (item.key() == "tokenizer_broken") continue;  // text/ reads tokenizers
    const std::string refusal = Refusal((root / item.key()).string());
    if (answer != "reject") {
      EXPECT_EQ(refusal, "") << item.key();
      continue;
    }
    EXPECT_NE(refusal, "") << item.key();
    EXPECT_EQ(refusal.find('\n'), std::string::npos) << refusal;
    for (const Json& word : item.value()["mentions"])
      EXPECT_NE(refusal.find(word.get<std::string>()), std::string::npos)
          << item.key() << ": " << word << " in: " << refusal;
  }
}

}  // namespace
}  // namespace quire::testing_models
