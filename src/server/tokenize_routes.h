// POST /tokenize and /detokenize, as vLLM has them.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "base/json.h"
#include "base/result.h"
#include "server/server_options.h"

namespace quire {

// {"count", "max_model_len", "tokens", "token_strs"} of a prompt, or of the messages of a chat.
Result<std::string> Tokenize(const Json& body, const ServerOptions& options,
                             const ServedModel& model);
// {"prompt"} of {"tokens"}; special tokens are kept.
Result<std::string> Detokenize(const Json& body, const ServerOptions& options,
                               const ServedModel& model);

}  // namespace quire
