#include "text/tokenizer_decoder.h"

#include <optional>
#include <utility>

#include "base/utf8.h"
#include "text/tokenizer_byte_level.h"
#include "text/tokenizer_regex.h"

namespace quire {

class TokenDecoder::Step {
 public:
  virtual ~Step() = default;
  // Returns true where the token is bytes now, which no later step may read as text.
  virtual bool Apply(std::string& token, bool is_first) const = 0;
};

namespace {

constexpr int kMaxNesting = 16;  // of sequences in sequences

bool IsOneCharacter(std::string_view text) {
  return !text.empty() && DecodeUtf8(text).length == text.size();
}

// A token of GPT-2's characters is the bytes that they stand for; another one is its own text.
class ByteLevelStep : public TokenDecoder::Step {
 public:
  bool Apply(std::string& token, bool) const override {
    if (std::optional<std::string> bytes = BytesOfByteLevel(token)) token = *std::move(bytes);
    return true;
  }
};

// "<0x0A>" is one byte.
class ByteFallbackStep : public TokenDecoder::Step {
 public:
  bool Apply(std::string& token, bool) const override {
    if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return false;
    const int high = HexDigit(token[3]);
    const int low = HexDigit(token[4]);
    if (high < 0 || low < 0) return false;
    token.assign(1, static_cast<char>(high * 16 + low));
    return true;
  }

 private:
  static int HexDigit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
  }
};

// A visible character becomes a space, or nothing in the first token where the prefix made it.
class MetaspaceStep : public TokenDecoder::Step {
 public:
  MetaspaceStep(std::string replacement, bool drops_first)
      : replacement_(std::move(replacement)), drops_first_(drops_first) {}

  bool Apply(std::string& token, bool is_first) const override {
    const std::string_view content = is_first && drops_first_ ? "" : " ";
    for (std::size_t at = 0; (at = token.find(replacement_, at)) != token.npos;) {
      token.replace(at, replacement_.size(), content);
      at += content.size();
    }
    return false;
  }

 private:
  std::string replacement_;
  bool drops_first_;
};

// Replaces every match of a pattern in a token.
class ReplaceStep : public TokenDecoder::Step {
 public:
  ReplaceStep(TokenizerRegex regex, std::string content)
      : regex_(std::move(regex)), content_(std::move(content)) {}

  bool Apply(std::string& token, bool) const override {
    token = regex_.ReplaceAll(token, content_);
    return false;
  }

 private:
  TokenizerRegex regex_;
  std::string content_;
};

// Takes a character off both ends of a token.
class StripStep : public TokenDecoder::Step {
 public:
  StripStep(std::string character, std::size_t start, std::size_t stop)
      : character_(std::move(character)), start_(start), stop_(stop) {}

  bool Apply(std::string& token, bool) const override {
    std::string_view rest = token;
    for (std::size_t i = 0; i < start_ && rest.starts_with(character_); ++i)
      rest.remove_prefix(character_.size());
    for (std::size_t i = 0; i < stop_ && rest.ends_with(character_); ++i)
      rest.remove_suffix(character_.size());
    token = std::string(rest);
    return false;
  }

 private:
  std::string character_;
  std::size_t start_;
  std::size_t stop_;
};

}  // namespace

TokenDecoder::TokenDecoder() = default;
TokenDecoder::~TokenDecoder() = default;
TokenDecoder::TokenDecoder(TokenDecoder&&) noexcept = default;
TokenDecoder& TokenDecoder::operator=(TokenDecoder&&) noexcept = default;

Result<TokenDecoder> TokenDecoder::Parse(const JsonView& config) {
  TokenDecoder decoder;
  const Status status = decoder.Add(config, 0);
  if (!status) return status.error();
  return decoder;
}

std::string TokenDecoder::BytesOf(std::string_view token, bool is_first) const {
  std::string bytes(token);
  for (const auto& step : steps_)
    if (step->Apply(bytes, is_first)) break;
  return bytes;
}

Status TokenDecoder::Add(const JsonView& config, int nesting) {
  const Result<std::string> type = config.String("type");
  if (!type) return type.error();
  if (*type == "Sequence") {
    if (nesting >= kMaxNesting) return config.Fault("is nested too deeply");
    const Result<JsonView> parts = config.Array("decoders");
    if (!parts) return parts.error();
    for (std::size_t i = 0; i < parts->json().size(); ++i)
      QUIRE_RETURN_IF_ERROR(Add(parts->At(i), nesting + 1));
    return {};
  }
  if (*type == "Fuse") {
    fused_ = true;
    return {};
  }
  if (*type == "Strip") return AddStrip(config);
  // Others read a whole text only when it has ended, so they could not be streamed.
  if (fused_) return config.Fault("has the type " + Quoted(*type) + " behind a Fuse");
  if (*type == "Replace") return AddReplace(config);
  if (*type == "Metaspace") return AddMetaspace(config);
  if (*type == "ByteFallback") {
    steps_.push_back(std::make_unique<ByteFallbackStep>());
    return {};
  }
  if (*type == "ByteLevel") {
    steps_.push_back(std::make_unique<ByteLevelStep>());
    fused_ = true;
    return {};
  }
  return config.Fault("has the type " + Quoted(*type) + ", which is not supported");
}

Status TokenDecoder::AddStrip(const JsonView& config) {
  const Result<std::string> character = config.String("content");
  if (!character) return character.error();
  if (!IsOneCharacter(*character)) return config.Fault("has a content that is not one character");
  const Result<std::int64_t> start = config.IntOr("start", 0);
  if (!start) return start.error();
  const Result<std::int64_t> stop = config.IntOr("stop", 0);
  if (!stop) return stop.error();
  if (*start < 0 || *stop < 0) return config.Fault("has a negative start or stop");
  const auto from_start = static_cast<std::size_t>(*start);
  if (!fused_) {
    steps_.push_back(
        std::make_unique<StripStep>(*character, from_start, static_cast<std::size_t>(*stop)));
    return {};
  }
  if (*stop != 0) return config.Fault("has a stop behind a Fuse, which is not supported");
  if (text_start_.count != 0) return config.Fault("is a second Strip behind a Fuse");
  text_start_ = {*character, from_start};
  return {};
}

Status TokenDecoder::AddMetaspace(const JsonView& config) {
  const Result<std::string> replacement = config.String("replacement");
  if (!replacement) return replacement.error();
  if (!IsOneCharacter(*replacement))
    return config.Fault("has a replacement that is not one character");
  const Result<std::string> scheme = config.StringOr("prepend_scheme", "always");
  if (!scheme) return scheme.error();
  if (*scheme != "always" && *scheme != "first" && *scheme != "never")
    return config.Fault("has the unknown prepend_scheme " + Quoted(*scheme));
  steps_.push_back(std::make_unique<MetaspaceStep>(*replacement, *scheme != "never"));
  return {};
}

Status TokenDecoder::AddReplace(const JsonView& config) {
  const Result<JsonView> pattern = config.Require("pattern");
  if (!pattern) return pattern.error();
  const Result<std::string> content = config.String("content");
  if (!content) return content.error();
  Result<TokenizerRegex> regex = TokenizerRegex::Parse(*pattern);
  if (!regex) return regex.error();
  steps_.push_back(std::make_unique<ReplaceStep>(*std::move(regex), *content));
  return {};
}

}  // namespace quire
