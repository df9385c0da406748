// Speed of the whole engine on a model with dummy weights: prefill, decode alone, decode of a
// batch.
//
//   engine_bench FOLDER [--dtype=bfloat16] [--threads=2] [--prompt=512] [--tokens=64]
//   [--sequences=16] [--rounds=3]
//
// Prints one JSON object; each figure is the best of the rounds, in tokens a second.
#include <fmt/core.h>

#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "engine/load.h"

namespace quire {
namespace {

struct Settings {
  std::int32_t prompt = 512;
  std::int32_t tokens = 64;
  std::int32_t sequences = 16;
  std::int32_t rounds = 3;
};

// Waits for the requests of one measurement and keeps when their tokens came.
class Watch {
 public:
  void Take(const EngineReport& report) {
    const std::lock_guard lock(mutex_);
    for (const RequestOutput& output : report.outputs) {
      if (output.output_index == 0 && !output.tokens.empty()) {
        first_ = Now();
        ++started_;
      }
      if (started_ == expected_)
        tokens_since_ += output.output_index == 0 ? 0 : output.tokens.size();
      if (output.finish_reason != FinishReason::kNone) ++ended_;
    }
    if (ended_ == expected_) {
      last_ = Now();
      done_.notify_all();
    }
  }

  void Expect(std::size_t requests) {
    const std::lock_guard lock(mutex_);
    expected_ = requests;
    started_ = ended_ = tokens_since_ = 0;
    begin_ = Now();
  }

  void Wait() {
    std::unique_lock lock(mutex_);
    done_.wait(lock, [this] { return ended_ == expected_; });
  }

  double SecondsToFirst() const { return Seconds(first_ - begin_); }
  // Tokens a second from when every request had its first token.
  double Rate() const { return static_cast<double>(tokens_since_) / Seconds(last_ - first_); }

 private:
  std::mutex mutex_;
  std::condition_variable done_;
  std::size_t expected_ = 0, started_ = 0, ended_ = 0, tokens_since_ = 0;
  TimePoint begin_, first_, last_;
};

class Bench {
 public:
  explicit Bench(Settings settings) : settings_(settings) {}

  Status Load(const EngineConfig& config) {
    auto engine = LoadEngine(config, {}, [this](EngineReport report) { watch_.Take(report); });
    if (!engine) return engine.error();
    engine_ = std::move(engine).value();
    return {};
  }

  void Print() {
    Run(1, settings_.prompt, 2);  // warm
    double prefill = 0, decode = 0, batch = 0;
    for (std::int32_t round = 0; round < settings_.rounds; ++round) {
      Run(1, settings_.prompt, 1);
      prefill = std::max(prefill, settings_.prompt / watch_.SecondsToFirst());
      Run(1, 16, settings_.tokens);
      decode = std::max(decode, watch_.Rate());
      Run(settings_.sequences, 16, settings_.tokens);
      batch = std::max(batch, watch_.Rate());
    }
    fmt::print(
        "{{\"device\": \"{}\", \"dtype\": \"{}\", \"prompt_tokens\": {}, \"prefill\": {:.1f}, "
        "\"decode\": {:.2f}, \"sequences\": {}, \"decode_batch\": {:.2f}, \"batch_over_one\": "
        "{:.2f}}}\n",
        engine_->info().device, engine_->info().dtype, settings_.prompt, prefill, decode,
        settings_.sequences, batch, batch / decode);
  }

 private:
  void Run(std::int32_t requests, std::int32_t prompt, std::int32_t tokens) {
    watch_.Expect(static_cast<std::size_t>(requests));
    for (std::int32_t i = 0; i < requests; ++i) {
      Request request;
      request.id = {++last_id_};
      request.cache_salt = std::to_string(last_id_);  // nothing is found in the prefix cache
      for (std::int32_t k = 0; k < prompt; ++k) request.prompt.push_back(100 + (k * 37 + i) % 1000);
      request.sampling.temperature = 0;
      request.sampling.max_tokens = tokens;
      request.sampling.ignore_eos = true;
      engine_->Submit(std::move(request));
    }
    watch_.Wait();
  }

  const Settings settings_;
  Watch watch_;
  std::uint64_t last_id_ = 0;
  std::unique_ptr<Engine> engine_;
};

bool Read(std::string_view word, std::string_view name, std::int32_t& value) {
  if (word.substr(0, name.size()) != name) return false;
  value = std::atoi(word.substr(name.size()).data());
  return true;
}

int Main(int argc, char** argv) {
  EngineConfig config;
  config.dtype = "bfloat16";
  config.num_threads = 2;
  config.load_format = LoadFormat::kDummy;
  config.kv_cache_memory_bytes = std::int64_t{256} << 20;
  config.max_model_len = 2048;
  Settings settings;
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (word.substr(0, 8) == "--dtype=") {
      config.dtype = word.substr(8);
    } else if (word.substr(0, 2) != "--") {
      config.model_folder = word;
    } else if (!Read(word, "--threads=", config.num_threads) &&
               !Read(word, "--prompt=", settings.prompt) &&
               !Read(word, "--tokens=", settings.tokens) &&
               !Read(word, "--sequences=", settings.sequences) &&
               !Read(word, "--rounds=", settings.rounds)) {
      std::fprintf(stderr, "engine_bench: unknown argument %s\n", argv[i]);
      return 2;
    }
  }
  Bench bench(settings);
  if (const Status status = bench.Load(config); !status.ok()) {
    std::fprintf(stderr, "engine_bench: %s\n", status.error().message.c_str());
    return 1;
  }
  bench.Print();
  return 0;
}

}  // namespace
}  // namespace quire

int main(int argc, char** argv) { return quire::Main(argc, argv); }
