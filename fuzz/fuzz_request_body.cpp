// Bodies of /v1/completions and /v1/chat/completions: parsing refuses or takes them, and never
// fails otherwise.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "base/json.h"
#include "server/api_error.h"
#include "server/generation_request.h"

namespace quire {
namespace {

ServedModel Model() {
  ServedModel model;
  model.info.vocab_size = 512;
  model.info.max_model_len = 256;
  model.info.block_size = 16;
  model.info.num_blocks = 64;
  return model;
}

ServerOptions Options() {
  ServerOptions options;
  options.served_model_names = {"m"};
  options.trust_request_chat_template = true;
  return options;
}

// What an error tells must fit the contract: a message, at most 2 KiB, valid JSON.
void CheckError(const Error& error) {
  QUIRE_CHECK(!error.message.empty());
  const std::string body = ErrorBody(error);
  QUIRE_CHECK(body.size() <= 2048);
  QUIRE_CHECK(ParseJson(body).ok());
}

void Try(std::string_view text) {
  auto body = ParseJson(text);
  if (!body) return CheckError(body.error());
  const ServerOptions options = Options();
  const ServedModel model = Model();
  auto completion = ParseCompletion(*body, options, model);
  if (!completion) {
    CheckError(completion.error());
  } else {
    QUIRE_CHECK(!completion->prompts.empty());
    QUIRE_CHECK(completion->fields.n >= 1 && completion->fields.n <= 128);
    for (const PromptInput& prompt : completion->prompts)
      for (const TokenId id : prompt.ids) QUIRE_CHECK(id >= 0 && id < model.info.vocab_size);
  }
  auto chat = ParseChat(*body, options, model);
  if (!chat)
    CheckError(chat.error());
  else
    QUIRE_CHECK(!chat->prompt.messages.empty());
}

}  // namespace
}  // namespace quire

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  quire::Try({reinterpret_cast<const char*>(data), size});
  return 0;
}
