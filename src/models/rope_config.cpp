#include "models/rope_config.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

namespace quire {
namespace {

constexpr double kMinTheta = 1e-3;
constexpr double kMaxTheta = 1e15;
constexpr double kMinFactor = 1e-6;
constexpr double kMaxFactor = 1e6;
constexpr std::int64_t kMaxPositions = std::int64_t{1} << 24;

void ReadLlama3(ConfigReader& scaling, RopeParameters& rope) {
  rope.low_freq_factor = scaling.Real("low_freq_factor", kMinFactor, kMaxFactor);
  rope.high_freq_factor = scaling.Real("high_freq_factor", kMinFactor, kMaxFactor);
  if (rope.high_freq_factor <= rope.low_freq_factor)
    scaling.Fail("high_freq_factor", "must be above low_freq_factor");
}

void ReadYarn(ConfigReader& scaling, RopeParameters& rope) {
  rope.beta_fast = scaling.Real("beta_fast", kMinFactor, kMaxFactor, 32.0);
  rope.beta_slow = scaling.Real("beta_slow", kMinFactor, kMaxFactor, 1.0);
  rope.truncate = scaling.Bool("truncate", true);
  if (scaling.Has("attention_factor"))
    rope.attention_factor = scaling.Real("attention_factor", kMinFactor, kMaxFactor);
  rope.mscale = scaling.Real("mscale", 0.0, kMaxFactor, 0.0);
  rope.mscale_all_dim = scaling.Real("mscale_all_dim", 0.0, kMaxFactor, 0.0);
  if (rope.theta == 1.0) scaling.Fail("rope_type", "yarn needs a rope_theta other than 1");
}

// How far positions go once the scaling stretched them, as vLLM derives it.
std::int64_t Stretched(const RopeParameters& rope, std::int64_t max_positions) {
  if (rope.scaling != RopeScaling::kLinear && rope.scaling != RopeScaling::kYarn)
    return max_positions;
  const std::int64_t base =
      rope.scaling == RopeScaling::kYarn ? rope.original_max_positions : max_positions;
  const double stretched = std::floor(static_cast<double>(base) * rope.factor);
  return static_cast<std::int64_t>(std::clamp(stretched, 1.0, static_cast<double>(kMaxPositions)));
}

void ReadScaling(ConfigReader& scaling, std::int64_t original, RopeParameters& rope) {
  const std::string type = scaling.Text("rope_type", scaling.Text("type", "default"));
  if (type == "default") return;
  if (type == "linear") {
    rope.scaling = RopeScaling::kLinear;
  } else if (type == "llama3") {
    rope.scaling = RopeScaling::kLlama3;
  } else if (type == "yarn") {
    rope.scaling = RopeScaling::kYarn;
  } else {
    scaling.Fail("rope_type",
                 fmt::format("\"{}\" is not supported; default, linear, llama3 and yarn are",
                             type.substr(0, 80)));
    return;
  }
  rope.factor = scaling.Real("factor", kMinFactor, kMaxFactor);
  rope.original_max_positions =
      scaling.Int("original_max_position_embeddings", 1, kMaxPositions, original);
  if (rope.scaling == RopeScaling::kLlama3) ReadLlama3(scaling, rope);
  if (rope.scaling == RopeScaling::kYarn) ReadYarn(scaling, rope);
}

}  // namespace

RopeConfig ReadRope(ConfigReader& config, std::int64_t head_dim, std::int64_t max_positions) {
  RopeConfig result;
  RopeParameters& rope = result.parameters;
  rope.theta = config.Real("rope_theta", kMinTheta, kMaxTheta, 10000.0);
  double rotated = config.Real("partial_rotary_factor", kMinFactor, 1.0, 1.0);
  const std::int64_t original =
      config.Int("original_max_position_embeddings", 1, kMaxPositions, max_positions);
  for (const char* name : {"rope_scaling", "rope_parameters"}) {
    const Json* object = config.Find(name);
    if (object == nullptr) continue;
    if (!object->is_object()) {
      config.Fail(name, "must be an object");
      continue;
    }
    ConfigReader scaling(*object, name);
    rope.theta = scaling.Real("rope_theta", kMinTheta, kMaxTheta, rope.theta);
    rotated = scaling.Real("partial_rotary_factor", kMinFactor, 1.0, rotated);
    for (const auto& item : object->items()) {
      if (item.value().is_object())
        scaling.Fail(item.key().substr(0, 80),
                     "is an object: one rotation for all layers is supported");
    }
    ReadScaling(scaling, original, rope);
    config.Adopt(scaling.status());
  }
  rope.rotary_dim = static_cast<std::int64_t>(static_cast<double>(head_dim) * rotated);
  if (rope.rotary_dim < 2 || rope.rotary_dim % 2 != 0) {
    config.Fail("head_dim", "and partial_rotary_factor give " + std::to_string(rope.rotary_dim) +
                                " rotated dimensions, which must be an even number");
  }
  result.max_positions = Stretched(rope, max_positions);
  return result;
}

}  // namespace quire
