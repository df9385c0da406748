// The rotation as config.json describes it, in its older and its newer form.
#pragma once

#include "layers/rope.h"
#include "models/config_reader.h"

namespace quire {

struct RopeConfig {
  RopeParameters parameters;
  std::int64_t max_positions =
      0;  // max_position_embeddings, stretched by the scaling where it means that
};

// From rope_theta and rope_scaling, or from rope_parameters (transformers 5). Faults go to
// `config`.
RopeConfig ReadRope(ConfigReader& config, std::int64_t head_dim, std::int64_t max_positions);

}  // namespace quire
