#include "text/bpe.h"

#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <string>

namespace quire {
namespace {

using Ids = std::vector<TokenId>;

// A model over the letters a to d whose merges are drawn at random.
struct RandomModel {
  Json json;
  std::map<std::pair<TokenId, TokenId>, std::pair<int, TokenId>> merges;

  explicit RandomModel(unsigned seed) {
    std::mt19937 random(seed);
    std::vector<std::string> tokens = {"a", "b", "c", "d"};
    json = {{"type", "BPE"}, {"vocab", Json::object()}, {"merges", Json::array()}};
    std::map<std::string, TokenId> ids = {{"a", 0}, {"b", 1}, {"c", 2}, {"d", 3}};
    for (int rank = 0; rank < 60; ++rank) {
      const std::string left = tokens[random() % tokens.size()];
      const std::string right = tokens[random() % tokens.size()];
      const auto [found, is_new] = ids.emplace(left + right, static_cast<TokenId>(ids.size()));
      if (is_new) tokens.push_back(left + right);
      json["merges"].push_back(left + " " + right);
      merges[{ids[left], ids[right]}] = {rank, found->second};
    }
    for (const auto& [token, id] : ids) json["vocab"][token] = id;
  }

  // Merges the pair with the lowest rank, of those the leftmost, until none is left.
  Ids Encode(const std::string& text) const {
    Ids ids;
    for (const char c : text) ids.push_back(c - 'a');
    while (true) {
      std::optional<std::size_t> best;
      for (std::size_t i = 0; i + 1 < ids.size(); ++i) {
        const auto found = merges.find({ids[i], ids[i + 1]});
        if (found == merges.end()) continue;
        if (!best || found->second.first < merges.at({ids[*best], ids[*best + 1]}).first) best = i;
      }
      if (!best) return ids;
      ids[*best] = merges.at({ids[*best], ids[*best + 1]}).second;
      ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(*best) + 1);
    }
  }
};

TEST(BpeModel, MergesAsTheNaiveAlgorithmDoes) {
  for (unsigned seed = 0; seed < 30; ++seed) {
    const RandomModel reference(seed);
    const auto model = BpeModel::Parse(JsonView(reference.json, "tokenizer.json"), AddedTokens());
    ASSERT_TRUE(model.ok()) << model.error().message;
    std::mt19937 random(seed);
    BpeModel::Scratch scratch;
    for (int round = 0; round < 50; ++round) {
      std::string text;
      for (std::size_t length = random() % 60; text.size() < length;)
        text += static_cast<char>('a' + random() % 4);
      Ids ids;
      model->Tokenize(text, scratch, ids);
      ASSERT_EQ(ids, reference.Encode(text)) << text;
    }
  }
}

TEST(BpeVocab, FindsWhatItHolds) {
  BpeVocab vocab(0);
  for (TokenId id = 0; id < 5000; ++id)
    ASSERT_EQ(vocab.Add("token" + std::to_string(id), id * 3), BpeVocab::Added::kYes);
  for (TokenId id = 0; id < 5000; ++id) {
    ASSERT_EQ(vocab.Find("token" + std::to_string(id)), id * 3);
    ASSERT_EQ(vocab.TokenOf(id * 3), "token" + std::to_string(id));
    ASSERT_EQ(vocab.TokenOf(id * 3 + 1), std::nullopt);
  }
  EXPECT_EQ(vocab.Find("token5000"), BpeVocab::kNone);
  EXPECT_EQ(vocab.Find(""), BpeVocab::kNone);
  EXPECT_EQ(vocab.Add("another", 3), BpeVocab::Added::kIdTaken);
  // The second id of a token replaces its first.
  EXPECT_EQ(vocab.Add("token1", 20000), BpeVocab::Added::kYes);
  EXPECT_EQ(vocab.Find("token1"), 20000);
  EXPECT_EQ(vocab.TokenOf(3), std::nullopt);
}

}  // namespace
}  // namespace quire
