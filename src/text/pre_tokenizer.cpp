#include "text/pre_tokenizer.h"

#include <algorithm>
#include <utility>

#include "base/utf8.h"
#include "text/tokenizer_byte_level.h"

namespace quire {

class PreTokenizer::Step {
 public:
  virtual ~Step() = default;
  virtual void Apply(PreTokenized& state) const = 0;
};

namespace {

using Piece = PreTokenized::Piece;
using Steps = std::vector<std::unique_ptr<const PreTokenizer::Step>>;

constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr int kMaxNesting = 16;  // of sequences in sequences

enum class Behavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

// A part of a piece: a match of the pattern, or what lies between two matches.
struct Part {
  TextSpan span;
  bool is_match = false;
};

std::vector<Part> PartsOf(const TokenizerRegex& regex, std::string_view text, bool invert) {
  std::vector<Part> parts;
  std::size_t done = 0;
  regex.ForEachMatch(text, [&](TextSpan match) {
    if (done != match.begin) parts.push_back({{done, match.begin}, invert});
    parts.push_back({match, !invert});
    done = match.end;
  });
  if (done != text.size()) parts.push_back({{done, text.size()}, invert});
  return parts;
}

// Joins parts as the library's `split` does; a part of the result that is no longer wanted has
// is_match.
std::vector<Part> Arrange(std::vector<Part> parts, Behavior behavior) {
  if (behavior == Behavior::kRemoved) return parts;
  const bool backwards = behavior == Behavior::kMergedWithNext;
  if (backwards) std::reverse(parts.begin(), parts.end());
  std::vector<Part> out;
  bool previous_match = false;
  for (const Part& part : parts) {
    const bool joins = behavior == Behavior::kIsolated     ? false
                       : behavior == Behavior::kContiguous ? part.is_match == previous_match
                                                           : part.is_match && !previous_match;
    if (joins && !out.empty()) {
      (backwards ? out.back().span.begin : out.back().span.end) =
          backwards ? part.span.begin : part.span.end;
    } else {
      out.push_back({part.span, false});
    }
    previous_match = part.is_match;
  }
  if (backwards) std::reverse(out.begin(), out.end());
  return out;
}

// Cuts every piece at the matches of a pattern.
class SplitStep : public PreTokenizer::Step {
 public:
  SplitStep(TokenizerRegex regex, Behavior behavior, bool invert)
      : regex_(std::move(regex)), behavior_(behavior), invert_(invert) {}

  void Apply(PreTokenized& state) const override {
    std::vector<Piece> pieces;
    for (const Piece& piece : state.pieces) {
      for (const Part& part : Arrange(PartsOf(regex_, state.TextOf(piece), invert_), behavior_)) {
        if (part.is_match && behavior_ == Behavior::kRemoved) continue;
        if (part.span.begin == part.span.end) continue;
        pieces.push_back({piece.begin + part.span.begin, piece.begin + part.span.end,
                          piece.starts_input && part.span.begin == 0});
      }
    }
    state.pieces = std::move(pieces);
  }

 private:
  TokenizerRegex regex_;
  Behavior behavior_;
  bool invert_;
};

// Rewrites every piece into new text.
template <class AppendPiece>
void Rewrite(PreTokenized& state, const AppendPiece& append) {
  std::string text;
  text.reserve(state.text.size() + state.text.size() / 4 + 16);
  for (Piece& piece : state.pieces) {
    const std::size_t begin = text.size();
    append(text, piece);
    piece.begin = begin;
    piece.end = text.size();
  }
  state.text = std::move(text);
}

// Puts a space before every piece that has none.
class PrefixSpaceStep : public PreTokenizer::Step {
 public:
  void Apply(PreTokenized& state) const override {
    Rewrite(state, [&](std::string& out, const Piece& piece) {
      const std::string_view text = state.TextOf(piece);
      if (!text.starts_with(' ')) out.push_back(' ');
      out.append(text);
    });
  }
};

// Spells the pieces' bytes as characters.
class ByteLevelStep : public PreTokenizer::Step {
 public:
  void Apply(PreTokenized& state) const override {
    Rewrite(state, [&](std::string& out, const Piece& piece) {
      AppendByteLevel(out, state.TextOf(piece));
    });
  }
};

enum class Prepend { kAlways, kFirst, kNever };

// Writes spaces as a visible character, and puts one before the pieces that the scheme names.
class MetaspaceStep : public PreTokenizer::Step {
 public:
  MetaspaceStep(std::string replacement, Prepend prepend)
      : replacement_(std::move(replacement)), prepend_(prepend) {}

  void Apply(PreTokenized& state) const override {
    Rewrite(state, [&](std::string& out, const Piece& piece) {
      const std::string_view text = state.TextOf(piece);
      const bool has_one = text.starts_with(' ') || text.starts_with(replacement_);
      const bool wants_one =
          prepend_ == Prepend::kAlways || (prepend_ == Prepend::kFirst && piece.starts_input);
      if (wants_one && !has_one) out.append(replacement_);
      for (const char c : text) {
        if (c == ' ') {
          out.append(replacement_);
        } else {
          out.push_back(c);
        }
      }
    });
  }

 private:
  std::string replacement_;
  Prepend prepend_;
};

Result<Behavior> ParseBehavior(const JsonView& config, std::string_view fallback) {
  const Result<std::string> name = config.StringOr("behavior", fallback);
  if (!name) return name.error();
  if (*name == "Removed") return Behavior::kRemoved;
  if (*name == "Isolated") return Behavior::kIsolated;
  if (*name == "MergedWithPrevious") return Behavior::kMergedWithPrevious;
  if (*name == "MergedWithNext") return Behavior::kMergedWithNext;
  if (*name == "Contiguous") return Behavior::kContiguous;
  return config.Fault("has the unknown behavior " + Quoted(*name));
}

Status AddSplit(const JsonView& config, Steps& steps) {
  const Result<JsonView> pattern = config.Require("pattern");
  if (!pattern) return pattern.error();
  Result<TokenizerRegex> regex = TokenizerRegex::Parse(*pattern);
  if (!regex) return regex.error();
  const Result<Behavior> behavior = ParseBehavior(config, "");
  if (!behavior) return behavior.error();
  const Result<bool> invert = config.BoolOr("invert", false);
  if (!invert) return invert.error();
  steps.push_back(std::make_unique<SplitStep>(*std::move(regex), *behavior, *invert));
  return {};
}

Status AddPattern(const JsonView& config, std::string_view pattern, Behavior behavior,
                  Steps& steps) {
  Result<TokenizerRegex> regex = TokenizerRegex::Compile(pattern);
  if (!regex) return config.Fault("cannot be compiled: " + regex.error().message);
  steps.push_back(std::make_unique<SplitStep>(*std::move(regex), behavior, false));
  return {};
}

Status AddByteLevel(const JsonView& config, Steps& steps) {
  const Result<bool> prefix_space = config.BoolOr("add_prefix_space", true);
  if (!prefix_space) return prefix_space.error();
  const Result<bool> use_regex = config.BoolOr("use_regex", true);
  if (!use_regex) return use_regex.error();
  if (*prefix_space) steps.push_back(std::make_unique<PrefixSpaceStep>());
  if (*use_regex)
    QUIRE_RETURN_IF_ERROR(AddPattern(config, kGpt2Pattern, Behavior::kIsolated, steps));
  steps.push_back(std::make_unique<ByteLevelStep>());
  return {};
}

Result<Prepend> ParsePrepend(const JsonView& config) {
  const Result<std::string> scheme = config.StringOr("prepend_scheme", "always");
  if (!scheme) return scheme.error();
  const Result<bool> prefix_space = config.BoolOr("add_prefix_space", true);
  if (!prefix_space) return prefix_space.error();
  if (!*prefix_space && *scheme != "never")
    return config.Fault("has an add_prefix_space that contradicts its prepend_scheme");
  if (*scheme == "always") return Prepend::kAlways;
  if (*scheme == "first") return Prepend::kFirst;
  if (*scheme == "never") return Prepend::kNever;
  return config.Fault("has the unknown prepend_scheme " + Quoted(*scheme));
}

Status AddMetaspace(const JsonView& config, Steps& steps) {
  const Result<std::string> replacement = config.String("replacement");
  if (!replacement) return replacement.error();
  if (replacement->empty() || DecodeUtf8(*replacement).length != replacement->size())
    return config.Fault("has a replacement that is not one character");
  const Result<Prepend> prepend = ParsePrepend(config);
  if (!prepend) return prepend.error();
  const Result<bool> split = config.BoolOr("split", true);
  if (!split) return split.error();
  steps.push_back(std::make_unique<MetaspaceStep>(*replacement, *prepend));
  if (!*split) return {};
  Result<TokenizerRegex> regex = TokenizerRegex::Literal(*replacement);
  if (!regex) return config.Fault("cannot be compiled: " + regex.error().message);
  steps.push_back(std::make_unique<SplitStep>(*std::move(regex), Behavior::kMergedWithNext, false));
  return {};
}

Status AddDigits(const JsonView& config, Steps& steps) {
  const Result<bool> individual = config.BoolOr("individual_digits", false);
  if (!individual) return individual.error();
  return AddPattern(config, R"(\p{N})", *individual ? Behavior::kIsolated : Behavior::kContiguous,
                    steps);
}

Status AddPunctuation(const JsonView& config, Steps& steps) {
  const Result<Behavior> behavior = ParseBehavior(config, "Isolated");
  if (!behavior) return behavior.error();
  return AddPattern(config, R"([\p{P}$+<=>^`|~])", *behavior, steps);
}

Status AddSteps(const JsonView& config, int nesting, Steps& steps) {
  const Result<std::string> type = config.String("type");
  if (!type) return type.error();
  if (*type == "Sequence") {
    if (nesting >= kMaxNesting) return config.Fault("is nested too deeply");
    const Result<JsonView> parts = config.Array("pretokenizers");
    if (!parts) return parts.error();
    for (std::size_t i = 0; i < parts->json().size(); ++i)
      QUIRE_RETURN_IF_ERROR(AddSteps(parts->At(i), nesting + 1, steps));
    return {};
  }
  if (*type == "Split") return AddSplit(config, steps);
  if (*type == "ByteLevel") return AddByteLevel(config, steps);
  if (*type == "Metaspace") return AddMetaspace(config, steps);
  if (*type == "Digits") return AddDigits(config, steps);
  if (*type == "Punctuation") return AddPunctuation(config, steps);
  if (*type == "WhitespaceSplit") return AddPattern(config, R"(\s)", Behavior::kRemoved, steps);
  return config.Fault("has the type " + Quoted(*type) + ", which is not supported");
}

}  // namespace

PreTokenizer::PreTokenizer() = default;
PreTokenizer::~PreTokenizer() = default;
PreTokenizer::PreTokenizer(PreTokenizer&&) noexcept = default;
PreTokenizer& PreTokenizer::operator=(PreTokenizer&&) noexcept = default;

Result<PreTokenizer> PreTokenizer::Parse(const std::optional<JsonView>& config) {
  PreTokenizer parsed;
  if (!config) return parsed;
  const Status status = AddSteps(*config, 0, parsed.steps_);
  if (!status) return status.error();
  return parsed;
}

PreTokenized PreTokenizer::Split(std::string segment, bool starts_input) const {
  PreTokenized state;
  if (segment.empty()) return state;
  state.text = std::move(segment);
  state.pieces.push_back({0, state.text.size(), starts_input});
  for (const auto& step : steps_) step->Apply(state);
  return state;
}

}  // namespace quire
