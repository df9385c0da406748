#include "bench/dataset_chat.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "bench/dataset_file.h"

namespace quire {
namespace {

DatasetMessage::From FromOf(const std::string& name) {
  if (name == "human" || name == "user") return DatasetMessage::From::kUser;
  if (name == "system" || name == "developer") return DatasetMessage::From::kSystem;
  return DatasetMessage::From::kModel;  // gpt, chatgpt, bing, bard, assistant, tool, …
}

// The string in a field of a message; null where it is something else.
const std::string* StringIn(const Json& message, const char* field) {
  if (!message.is_object()) return nullptr;
  const auto found = message.find(field);
  return found == message.end() ? nullptr : found->get_ptr<const std::string*>();
}

}  // namespace

Result<std::vector<DatasetMessage>> ReadDatasetMessages(const std::string& path, int line,
                                                        const Json& entry) {
  const bool is_sharegpt = entry.contains("conversations");
  const char* const list_name = is_sharegpt ? "conversations" : "messages";
  const char* const from_name = is_sharegpt ? "from" : "role";
  const char* const text_name = is_sharegpt ? "value" : "content";
  const auto list = entry.find(list_name);
  if (list == entry.end()) {
    return DatasetFault(path, line, "field conversations: it is missing (messages too)");
  }
  if (!list->is_array()) {
    return DatasetFault(path, line, fmt::format("field {}: expected a list", list_name));
  }
  std::vector<DatasetMessage> messages;
  for (const Json& message : *list) {
    const std::string* from = StringIn(message, from_name);
    const std::string* text = StringIn(message, text_name);
    if (from == nullptr || text == nullptr) {
      return DatasetFault(path, line,
                          fmt::format("field {}[{}].{}: expected a string", list_name,
                                      messages.size(), from == nullptr ? from_name : text_name));
    }
    messages.push_back({FromOf(*from), *text});
  }
  return messages;
}

}  // namespace quire
