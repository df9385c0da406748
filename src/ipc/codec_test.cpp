#include "ipc/codec.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

namespace quire {
namespace {

// Owns the random numbers that messages are made of.
class MessageMaker {
 public:
  explicit MessageMaker(std::uint64_t seed) : random_(seed) {}

  Message Make() {
    switch (random_() % 7) {
      case 0:
        return MakeRequest();
      case 1:
        return CancelMessage{{random_()}};
      case 2:
        return ShutdownMessage{};
      case 3:
        return LoadProgress{random_(), random_()};
      case 4:
        return MakeInfo();
      case 5:
        return LoadFailure{static_cast<std::int32_t>(random_() % 256), Text()};
      default:
        return MakeReport();
    }
  }

  Request MakeRequest() {
    Request request;
    request.id = {random_()};
    request.prompt = Tokens();
    request.cache_salt = Text();
    request.priority = Int();
    request.delivered = Tokens();
    SamplingParams& s = request.sampling;
    s.temperature = Float();
    s.top_p = Float();
    s.top_k = Int();
    s.min_p = Float();
    s.repetition_penalty = Float();
    s.presence_penalty = Float();
    s.frequency_penalty = Float();
    s.seed = random_();
    s.max_tokens = Int();
    s.min_tokens = Int();
    s.ignore_eos = random_() % 2 == 0;
    s.num_logprobs = Int();
    s.num_prompt_logprobs = Int();
    s.stop_token_ids = Tokens();
    for (TokenId token : Tokens()) s.logit_bias.emplace_back(token, Float());
    s.allowed_token_ids = Tokens();
    for (std::size_t i = random_() % 4; i > 0; --i) s.bad_words.push_back(Tokens());
    return request;
  }

  EngineReport MakeReport() {
    EngineReport report;
    report.stats = {Int(),
                    Int(),
                    Int(),
                    Int(),
                    random_(),
                    random_(),
                    random_(),
                    random_(),
                    random_(),
                    Int(),
                    {Float(), Float(), Float()}};
    for (std::size_t i = random_() % 5; i > 0; --i) {
      RequestOutput output;
      output.id = {random_()};
      output.output_index = Int();
      output.tokens = Tokens();
      output.logprobs = Positions();
      output.prompt_logprobs_begin = Int();
      output.prompt_logprobs = Positions();
      output.finish_reason = static_cast<FinishReason>(random_() % 5);
      output.stop_token = Int();
      output.error = Text();
      output.num_cached_tokens = Int();
      output.queue_seconds = Float();
      output.prefill_seconds = Float();
      output.decode_seconds = Float();
      report.outputs.push_back(std::move(output));
    }
    return report;
  }

 private:
  EngineInfo MakeInfo() {
    EngineInfo info;
    info.architecture = Text();
    info.dtype = Text();
    info.device = Text();
    info.vocab_size = Int();
    info.weight_bytes = Int();
    info.enable_prefix_caching = random_() % 2 == 0;
    info.eos_token_ids = Tokens();
    return info;
  }
  std::int32_t Int() { return static_cast<std::int32_t>(random_()); }
  float Float() { return static_cast<float>(Int()) / 65536.0F; }
  std::string Text() {
    std::string text(random_() % 20, ' ');
    for (char& c : text) c = static_cast<char>(random_());
    return text;
  }
  std::vector<TokenId> Tokens() {
    std::vector<TokenId> tokens(random_() % 30);
    for (TokenId& token : tokens) token = Int();
    return tokens;
  }
  std::vector<PositionLogprobs> Positions() {
    std::vector<PositionLogprobs> positions(random_() % 4);
    for (auto& position : positions) {
      for (std::size_t i = random_() % 4; i > 0; --i) {
        position.entries.push_back({Int(), -std::numeric_limits<float>::infinity(), Int()});
      }
    }
    return positions;
  }

  std::mt19937_64 random_;
};

TEST(CodecTest, RandomMessagesEncodeToTheSameBytesAgain) {
  MessageMaker maker(1);
  for (int i = 0; i < 5000; ++i) {
    const Message message = maker.Make();
    const auto frame = Encode(message);
    ASSERT_TRUE(frame.ok());
    ASSERT_EQ(FrameBytes(*frame).value(), frame->size());
    const auto decoded = Decode(*frame);
    ASSERT_TRUE(decoded.ok()) << decoded.error().message;
    ASSERT_EQ(decoded->index(), message.index());
    ASSERT_EQ(Encode(*decoded).value(), *frame);
  }
}

TEST(CodecTest, EveryFieldOfARequestArrives) {
  MessageMaker maker(2);
  for (int i = 0; i < 100; ++i) {
    const Request sent = maker.MakeRequest();
    const auto decoded = Decode(Encode(sent).value());
    ASSERT_TRUE(decoded.ok());
    const Request& got = std::get<Request>(*decoded);
    EXPECT_EQ(got.id, sent.id);
    EXPECT_EQ(got.prompt, sent.prompt);
    EXPECT_EQ(got.cache_salt, sent.cache_salt);
    EXPECT_EQ(got.priority, sent.priority);
    EXPECT_EQ(got.delivered, sent.delivered);
    const SamplingParams& a = sent.sampling;
    const SamplingParams& b = got.sampling;
    EXPECT_EQ(a.temperature, b.temperature);
    EXPECT_EQ(a.top_p, b.top_p);
    EXPECT_EQ(a.top_k, b.top_k);
    EXPECT_EQ(a.min_p, b.min_p);
    EXPECT_EQ(a.repetition_penalty, b.repetition_penalty);
    EXPECT_EQ(a.presence_penalty, b.presence_penalty);
    EXPECT_EQ(a.frequency_penalty, b.frequency_penalty);
    EXPECT_EQ(a.seed, b.seed);
    EXPECT_EQ(a.max_tokens, b.max_tokens);
    EXPECT_EQ(a.min_tokens, b.min_tokens);
    EXPECT_EQ(a.ignore_eos, b.ignore_eos);
    EXPECT_EQ(a.num_logprobs, b.num_logprobs);
    EXPECT_EQ(a.num_prompt_logprobs, b.num_prompt_logprobs);
    EXPECT_EQ(a.stop_token_ids, b.stop_token_ids);
    EXPECT_EQ(a.logit_bias, b.logit_bias);
    EXPECT_EQ(a.allowed_token_ids, b.allowed_token_ids);
    EXPECT_EQ(a.bad_words, b.bad_words);
  }
}

TEST(CodecTest, EveryFieldOfAReportArrives) {
  MessageMaker maker(3);
  for (int i = 0; i < 100; ++i) {
    const EngineReport sent = maker.MakeReport();
    const auto decoded = Decode(Encode(sent).value());
    ASSERT_TRUE(decoded.ok());
    const auto& got = std::get<EngineReport>(*decoded);
    EXPECT_EQ(got.stats.num_running, sent.stats.num_running);
    EXPECT_EQ(got.stats.num_waiting, sent.stats.num_waiting);
    EXPECT_EQ(got.stats.num_blocks, sent.stats.num_blocks);
    EXPECT_EQ(got.stats.num_used_blocks, sent.stats.num_used_blocks);
    EXPECT_EQ(got.stats.prefix_cache_hits, sent.stats.prefix_cache_hits);
    EXPECT_EQ(got.stats.step_tokens, sent.stats.step_tokens);
    EXPECT_EQ(got.stats.step_times.host, sent.stats.step_times.host);
    ASSERT_EQ(got.outputs.size(), sent.outputs.size());
    for (std::size_t o = 0; o < got.outputs.size(); ++o) {
      const RequestOutput& a = sent.outputs[o];
      const RequestOutput& b = got.outputs[o];
      EXPECT_EQ(a.id, b.id);
      EXPECT_EQ(a.output_index, b.output_index);
      EXPECT_EQ(a.tokens, b.tokens);
      ASSERT_EQ(a.logprobs.size(), b.logprobs.size());
      for (std::size_t p = 0; p < a.logprobs.size(); ++p) {
        ASSERT_EQ(a.logprobs[p].entries.size(), b.logprobs[p].entries.size());
        for (std::size_t e = 0; e < a.logprobs[p].entries.size(); ++e) {
          EXPECT_EQ(a.logprobs[p].entries[e].token, b.logprobs[p].entries[e].token);
          EXPECT_EQ(a.logprobs[p].entries[e].logprob, b.logprobs[p].entries[e].logprob);
          EXPECT_EQ(a.logprobs[p].entries[e].rank, b.logprobs[p].entries[e].rank);
        }
      }
      EXPECT_EQ(a.prompt_logprobs.size(), b.prompt_logprobs.size());
      EXPECT_EQ(a.prompt_logprobs_begin, b.prompt_logprobs_begin);
      EXPECT_EQ(a.finish_reason, b.finish_reason);
      EXPECT_EQ(a.stop_token, b.stop_token);
      EXPECT_EQ(a.error, b.error);
      EXPECT_EQ(a.num_cached_tokens, b.num_cached_tokens);
      EXPECT_EQ(a.decode_seconds, b.decode_seconds);
    }
  }
}

TEST(CodecTest, EveryTruncationIsRefused) {
  MessageMaker maker(4);
  for (int i = 0; i < 60; ++i) {
    std::string frame = Encode(maker.Make()).value();
    for (std::size_t size = 0; size < frame.size(); ++size) {
      ASSERT_FALSE(Decode(std::string_view(frame).substr(0, size)).ok());
      if (size < kFrameHeaderBytes) continue;
      // With a length in the header that agrees, the fields themselves must notice.
      std::string cut = frame.substr(0, size);
      const auto payload = static_cast<std::uint32_t>(size - kFrameHeaderBytes);
      std::memcpy(cut.data() + 8, &payload, sizeof(payload));
      ASSERT_FALSE(Decode(cut).ok());
    }
    ASSERT_FALSE(Decode(frame + "x").ok());
  }
}

TEST(CodecTest, MutatedBytesAreRefusedOrUnderstoodExactly) {
  MessageMaker maker(5);
  std::mt19937_64 random(6);
  int refused = 0;
  for (int i = 0; i < 2000; ++i) {
    const std::string frame = Encode(maker.Make()).value();
    for (int j = 0; j < 20; ++j) {
      std::string mutant = frame;
      for (std::size_t n = 1 + random() % 3; n > 0; --n) {
        mutant[random() % mutant.size()] = static_cast<char>(random());
      }
      const auto decoded = Decode(mutant);
      if (!decoded) {
        ++refused;
      } else {
        ASSERT_EQ(Encode(*decoded).value(), mutant);
      }
    }
  }
  EXPECT_GT(refused, 1000);
}

TEST(CodecTest, WrongHeadersAreRefused) {
  const std::string frame = Encode(Message(CancelMessage{{7}})).value();
  for (std::size_t at : {0U, 3U, 4U, 5U}) {  // magic, version: the stream is lost
    std::string bad = frame;
    bad[at] = static_cast<char>(bad[at] + 1);
    EXPECT_FALSE(FrameBytes(bad).ok()) << at;
    EXPECT_FALSE(Decode(bad).ok()) << at;
  }
  std::string unknown_type = frame;
  unknown_type[6] = 99;
  EXPECT_TRUE(FrameBytes(unknown_type).ok());
  EXPECT_FALSE(Decode(unknown_type).ok());
  std::string huge = frame;
  huge[11] = 0x7f;
  EXPECT_FALSE(FrameBytes(huge).ok());
}

TEST(CodecTest, ACountBeyondTheMessageAllocatesNothing) {
  std::string frame = Encode(Request{}).value();
  const std::uint32_t count = 0xffffffff;
  std::memcpy(frame.data() + kFrameHeaderBytes + 8, &count, sizeof(count));  // of the prompt
  EXPECT_FALSE(Decode(frame).ok());
}

TEST(CodecTest, WhatCannotBeDecodedIsNotEncoded) {
  Request request;
  request.sampling.temperature = std::nanf("");
  EXPECT_FALSE(Encode(request).ok());
  request.sampling.temperature = 1;
  request.cache_salt.assign((std::size_t{1} << 20) + 1, 'x');
  EXPECT_FALSE(Encode(request).ok());
  EXPECT_FALSE(Encode(Message(LoadFailure{256, ""})).ok());
  EngineReport report;
  report.outputs.resize(1);
  report.outputs[0].finish_reason = static_cast<FinishReason>(77);
  EXPECT_FALSE(Encode(report).ok());
}

}  // namespace
}  // namespace quire
