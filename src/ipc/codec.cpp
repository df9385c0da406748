#include "ipc/codec.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <type_traits>
#include <utility>
#include <vector>

namespace quire {
namespace {

static_assert(std::endian::native == std::endian::little, "the wire is little-endian");
static_assert(sizeof(LogprobEntry) == 12 && std::is_trivially_copyable_v<LogprobEntry>);

constexpr std::uint32_t kMagic = 0x43504951;  // "QIPC"
constexpr std::uint16_t kVersion = 1;

enum class MessageType : std::uint16_t {
  kSubmit = 1,
  kCancel,
  kShutdown,
  kLoading,
  kReady,
  kFailed,
  kReport,
};

// Longest lists. The frame's size bounds them too; these keep one field from eating the whole
// frame.
constexpr std::size_t kMaxTokens = std::size_t{1} << 24;
constexpr std::size_t kMaxText = std::size_t{1} << 20;
constexpr std::size_t kMaxBadWords = std::size_t{1} << 16;
constexpr std::size_t kMaxOutputs = std::size_t{1} << 16;
constexpr std::size_t kMaxPositions = std::size_t{1} << 20;
constexpr std::size_t kMaxEntries = std::size_t{1} << 20;

// Least bytes of one element, so that a count can be checked before anything is allocated for it.
constexpr std::size_t kMinPosition = 4;
constexpr std::size_t kMinOutput = 65;

Error Malformed(const char* what) {
  return {ErrorKind::kInternal, std::string("malformed message: ") + what, "", ""};
}

// Writer and Reader have the same functions, so that one description of a struct (Fields below)
// serves both directions and they cannot drift apart.

// Writer: owns the frame that is being made.
class Writer {
 public:
  explicit Writer(MessageType type) {
    Scalar(kMagic);
    Scalar(kVersion);
    Scalar(static_cast<std::uint16_t>(type));
    Scalar(std::uint32_t{0});
  }

  template <class T>
  void Scalar(const T& value) {
    static_assert(std::is_arithmetic_v<T> && !std::is_same_v<T, bool>);
    Bytes(&value, sizeof(T));
  }
  void Bool(bool value) { Scalar(static_cast<std::uint8_t>(value)); }
  void Finite(float value) {
    if (!std::isfinite(value)) Fail("a parameter is not finite");
    Scalar(value);
  }
  void Range(std::int32_t value, std::int32_t low, std::int32_t high) {
    if (value < low || value > high) Fail("a number is out of range");
    Scalar(value);
  }
  template <class E>
  void Enum(E value, E last) {
    if (value > last) Fail("an unknown enumerator");
    Scalar(static_cast<std::underlying_type_t<E>>(value));
  }
  void Text(const std::string& text) {
    Count(text.size(), kMaxText);
    Bytes(text.data(), text.size());
  }
  template <class T>
  void Plain(const std::vector<T>& list, std::size_t max) {
    Count(list.size(), max);
    Bytes(list.data(), list.size() * sizeof(T));
  }
  template <class T, class Each>
  void List(const std::vector<T>& list, std::size_t max, std::size_t, Each each) {
    Count(list.size(), max);
    for (const T& item : list) {
      if (error_ != nullptr) return;
      each(*this, item);
    }
  }

  Result<std::string> Finish() && {
    if (error_ == nullptr && frame_.size() > kMaxFrameBytes) error_ = "it is too large";
    if (error_ != nullptr) return Malformed(error_);
    const auto payload = static_cast<std::uint32_t>(frame_.size() - kFrameHeaderBytes);
    std::memcpy(frame_.data() + 8, &payload, sizeof(payload));
    return std::move(frame_);
  }

 private:
  void Fail(const char* error) {
    if (error_ == nullptr) error_ = error;
  }
  void Count(std::size_t count, std::size_t max) {
    if (count > max) Fail("a list is too long");
    Scalar(static_cast<std::uint32_t>(count));
  }
  void Bytes(const void* bytes, std::size_t size) {
    if (frame_.size() + size > kMaxFrameBytes) Fail("it is too large");
    if (error_ == nullptr && size > 0) frame_.append(static_cast<const char*>(bytes), size);
  }

  std::string frame_;
  const char* error_ = nullptr;
};

// Reader: walks over a payload that somebody else owns, and never beyond it.
class Reader {
 public:
  explicit Reader(std::string_view payload) : rest_(payload) {}

  template <class T>
  void Scalar(T& value) {
    static_assert(std::is_arithmetic_v<T> && !std::is_same_v<T, bool>);
    Bytes(&value, sizeof(T));
  }
  void Bool(bool& value) {
    std::uint8_t byte = 0;
    Scalar(byte);
    if (byte > 1) Fail("a flag is neither 0 nor 1");
    value = byte == 1;
  }
  void Finite(float& value) {
    Scalar(value);
    if (!std::isfinite(value)) Fail("a parameter is not finite");
  }
  void Range(std::int32_t& value, std::int32_t low, std::int32_t high) {
    Scalar(value);
    if (value < low || value > high) Fail("a number is out of range");
  }
  template <class E>
  void Enum(E& value, E last) {
    std::underlying_type_t<E> number = 0;
    Scalar(number);
    if (number > static_cast<std::underlying_type_t<E>>(last)) {
      Fail("an unknown enumerator");
    } else {
      value = static_cast<E>(number);
    }
  }
  void Text(std::string& text) {
    text.resize(Count(kMaxText, 1));
    Bytes(text.data(), text.size());
  }
  template <class T>
  void Plain(std::vector<T>& list, std::size_t max) {
    list.resize(Count(max, sizeof(T)));
    Bytes(list.data(), list.size() * sizeof(T));
  }
  template <class T, class Each>
  void List(std::vector<T>& list, std::size_t max, std::size_t min_bytes, Each each) {
    list.resize(Count(max, min_bytes));
    for (T& item : list) {
      if (error_ != nullptr) return;
      each(*this, item);
    }
  }

  Status Finish() const {
    if (error_ != nullptr) return Malformed(error_);
    if (!rest_.empty()) return Malformed("bytes are left over");
    return {};
  }

 private:
  void Fail(const char* error) {
    if (error_ == nullptr) error_ = error;
  }
  // 0 where the count is a lie.
  std::size_t Count(std::size_t max, std::size_t min_bytes) {
    std::uint32_t count = 0;
    Scalar(count);
    if (error_ != nullptr) return 0;
    if (count <= max && count <= rest_.size() / min_bytes) return count;
    Fail("a length is beyond the message");
    return 0;
  }
  void Bytes(void* out, std::size_t size) {
    if (error_ != nullptr || size == 0) return;
    if (size > rest_.size()) {
      Fail("it is cut short");
      return;
    }
    std::memcpy(out, rest_.data(), size);
    rest_.remove_prefix(size);
  }

  std::string_view rest_;
  const char* error_ = nullptr;
};

// The layout. V is the struct, const for the Writer.

template <class A, class V>
void SamplingFields(A& a, V& v) {
  a.Finite(v.temperature);
  a.Finite(v.top_p);
  a.Scalar(v.top_k);
  a.Finite(v.min_p);
  a.Finite(v.repetition_penalty);
  a.Finite(v.presence_penalty);
  a.Finite(v.frequency_penalty);
  a.Scalar(v.seed);
  a.Scalar(v.max_tokens);
  a.Scalar(v.min_tokens);
  a.Bool(v.ignore_eos);
  a.Scalar(v.num_logprobs);
  a.Scalar(v.num_prompt_logprobs);
  a.Plain(v.stop_token_ids, kMaxTokens);
  a.List(v.logit_bias, kMaxTokens, 8, [](auto& b, auto& entry) {
    b.Scalar(entry.first);
    b.Finite(entry.second);
  });
  a.Plain(v.allowed_token_ids, kMaxTokens);
  a.List(v.bad_words, kMaxBadWords, 4, [](auto& b, auto& word) { b.Plain(word, kMaxTokens); });
}

template <class A, class V>
void RequestFields(A& a, V& v) {
  a.Scalar(v.id.value);
  a.Plain(v.prompt, kMaxTokens);
  SamplingFields(a, v.sampling);
  a.Text(v.cache_salt);
  a.Scalar(v.priority);
  a.Plain(v.delivered, kMaxTokens);
}

template <class A, class V>
void InfoFields(A& a, V& v) {
  a.Text(v.architecture);
  a.Text(v.dtype);
  a.Text(v.device);
  a.Scalar(v.vocab_size);
  a.Scalar(v.max_model_len);
  a.Scalar(v.block_size);
  a.Scalar(v.num_blocks);
  a.Scalar(v.weight_bytes);
  a.Scalar(v.kv_cache_bytes);
  a.Scalar(v.max_num_seqs);
  a.Scalar(v.max_num_batched_tokens);
  a.Bool(v.enable_prefix_caching);
  a.Plain(v.eos_token_ids, kMaxTokens);
}

template <class A, class V>
void PositionsFields(A& a, V& positions) {
  a.List(positions, kMaxPositions, kMinPosition,
         [](auto& b, auto& position) { b.Plain(position.entries, kMaxEntries); });
}

template <class A, class V>
void OutputFields(A& a, V& v) {
  a.Scalar(v.id.value);
  a.Scalar(v.output_index);
  a.Plain(v.tokens, kMaxTokens);
  PositionsFields(a, v.logprobs);
  a.Scalar(v.prompt_logprobs_begin);
  PositionsFields(a, v.prompt_logprobs);
  a.Enum(v.finish_reason, FinishReason::kError);
  a.Scalar(v.stop_token);
  a.Text(v.error);
  a.Scalar(v.num_cached_tokens);
  a.Scalar(v.queue_seconds);
  a.Scalar(v.prefill_seconds);
  a.Scalar(v.decode_seconds);
}

template <class A, class V>
void StatsFields(A& a, V& v) {
  a.Scalar(v.num_running);
  a.Scalar(v.num_waiting);
  a.Scalar(v.num_blocks);
  a.Scalar(v.num_used_blocks);
  a.Scalar(v.num_steps);
  a.Scalar(v.num_preemptions);
  a.Scalar(v.prefix_cache_queries);
  a.Scalar(v.prefix_cache_hits);
  a.Scalar(v.prompt_tokens_computed);
  a.Scalar(v.step_tokens);
  a.Scalar(v.step_times.device);
  a.Scalar(v.step_times.gap);
  a.Scalar(v.step_times.host);
}

template <class A, class V>
void ReportFields(A& a, V& v) {
  StatsFields(a, v.stats);
  a.List(v.outputs, kMaxOutputs, kMinOutput,
         [](auto& b, auto& output) { OutputFields(b, output); });
}

template <class A, class V>
void Fields(A& a, V& v) {
  using T = std::remove_const_t<V>;
  if constexpr (std::is_same_v<T, Request>) {
    RequestFields(a, v);
  } else if constexpr (std::is_same_v<T, CancelMessage>) {
    a.Scalar(v.id.value);
  } else if constexpr (std::is_same_v<T, LoadProgress>) {
    a.Scalar(v.done_bytes);
    a.Scalar(v.total_bytes);
  } else if constexpr (std::is_same_v<T, EngineInfo>) {
    InfoFields(a, v);
  } else if constexpr (std::is_same_v<T, LoadFailure>) {
    a.Range(v.exit_code, 0, 255);
    a.Text(v.message);
  } else if constexpr (std::is_same_v<T, EngineReport>) {
    ReportFields(a, v);
  } else {
    static_assert(std::is_same_v<T, ShutdownMessage>);
  }
}

template <class T>
Result<std::string> EncodeAs(MessageType type, const T& value) {
  Writer writer(type);
  Fields(writer, value);
  return std::move(writer).Finish();
}

template <class T>
Result<Message> DecodeAs(std::string_view payload) {
  Reader reader(payload);
  Message message(std::in_place_type<T>);
  Fields(reader, *std::get_if<T>(&message));
  QUIRE_RETURN_IF_ERROR(reader.Finish());
  return message;
}

template <class T>
T ReadAt(std::string_view bytes, std::size_t offset) {
  T value{};
  std::memcpy(&value, bytes.data() + offset, sizeof(T));
  return value;
}

}  // namespace

Result<std::string> Encode(const Request& request) {
  return EncodeAs(MessageType::kSubmit, request);
}

Result<std::string> Encode(const EngineReport& report) {
  return EncodeAs(MessageType::kReport, report);
}

Result<std::string> Encode(const Message& message) {
  const auto type = static_cast<MessageType>(message.index() + 1);
  return std::visit([type](const auto& value) { return EncodeAs(type, value); }, message);
}

Result<std::size_t> FrameBytes(std::string_view header) {
  if (header.size() < kFrameHeaderBytes) return Malformed("it is cut short");
  if (ReadAt<std::uint32_t>(header, 0) != kMagic) return Malformed("no frame begins here");
  if (ReadAt<std::uint16_t>(header, 4) != kVersion) return Malformed("another version");
  const std::size_t payload = ReadAt<std::uint32_t>(header, 8);
  if (payload > kMaxFrameBytes - kFrameHeaderBytes) return Malformed("it is too large");
  return kFrameHeaderBytes + payload;
}

Result<Message> Decode(std::string_view frame) {
  auto size = FrameBytes(frame);
  if (!size) return size.error();
  if (*size != frame.size()) return Malformed("the length does not match");
  const std::string_view payload = frame.substr(kFrameHeaderBytes);
  switch (static_cast<MessageType>(ReadAt<std::uint16_t>(frame, 6))) {
    case MessageType::kSubmit:
      return DecodeAs<Request>(payload);
    case MessageType::kCancel:
      return DecodeAs<CancelMessage>(payload);
    case MessageType::kShutdown:
      return DecodeAs<ShutdownMessage>(payload);
    case MessageType::kLoading:
      return DecodeAs<LoadProgress>(payload);
    case MessageType::kReady:
      return DecodeAs<EngineInfo>(payload);
    case MessageType::kFailed:
      return DecodeAs<LoadFailure>(payload);
    case MessageType::kReport:
      return DecodeAs<EngineReport>(payload);
  }
  return Malformed("an unknown type");
}

}  // namespace quire
