// The front end's half of a model: tokenizer, chat template, default sampling.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "base/result.h"
#include "server/server_options.h"

namespace quire {

struct ServedModelFlags {
  bool skip_tokenizer_init = false;
  std::string tokenizer;                   // another folder; empty: the model's
  std::string chat_template;               // a file, or the template itself; empty: the model's
  std::string generation_config = "auto";  // vllm: neutral defaults
};

// Everything but EngineInfo. kModel errors name file and field, kConfig ones the flag.
Result<ServedModel> LoadServedModel(const std::filesystem::path& folder,
                                    const ServedModelFlags& flags);

}  // namespace quire
