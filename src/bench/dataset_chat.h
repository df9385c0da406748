// Conversations as dataset files spell them.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"

namespace quire {

struct DatasetMessage {
  enum class From : unsigned char { kUser, kModel, kSystem };
  From from = From::kUser;
  std::string text;
};

// An entry's "conversations" (ShareGPT: from, value) or "messages" (OpenAI: role, content, of which
// the content is a string). `line` is for the errors.
Result<std::vector<DatasetMessage>> ReadDatasetMessages(const std::string& path, int line,
                                                        const Json& entry);

}  // namespace quire
