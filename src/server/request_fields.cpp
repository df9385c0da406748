#include "server/request_fields.h"

#include <fmt/core.h>

#include <cmath>
#include <limits>
#include <utility>

namespace quire {
namespace {

constexpr std::size_t kMaxFields = 1024;  // of one object; the widest request has some sixty

Error WrongType(const std::string& path, std::string_view wanted) {
  return InvalidRequest(fmt::format("'{}' must be {}", path, wanted), path, "invalid_type");
}

Error OutOfRange(const std::string& path, std::int64_t low, std::int64_t high, bool above) {
  std::string bounds = high == std::numeric_limits<std::int64_t>::max()
                           ? fmt::format("at least {}", low)
                           : fmt::format("between {} and {}", low, high);
  return InvalidRequest(fmt::format("'{}' must be {}", path, bounds), path,
                        above ? "integer_above_max_value" : "integer_below_min_value");
}

}  // namespace

Result<std::int64_t> ReadInt(const Json& value, std::string path, std::int64_t low,
                             std::int64_t high) {
  std::int64_t number = 0;
  if (value.is_number_unsigned()) {
    const auto wide = value.get<std::uint64_t>();
    if (wide > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
      return OutOfRange(path, low, high, true);
    number = static_cast<std::int64_t>(wide);
  } else if (value.is_number_integer()) {
    number = value.get<std::int64_t>();
  } else if (value.is_number_float()) {
    const auto real = value.get<double>();
    if (std::trunc(real) != real) return WrongType(path, "an integer");
    constexpr double kExact = 9007199254740992.0;  // 2^53
    if (std::fabs(real) > kExact) return OutOfRange(path, low, high, real > 0);
    number = static_cast<std::int64_t>(real);
  } else {
    return WrongType(path, "an integer");
  }
  if (number < low || number > high) return OutOfRange(path, low, high, number > high);
  return number;
}

Result<std::vector<TokenId>> ReadTokenIds(const Json& list, const std::string& path,
                                          std::int64_t vocab_size) {
  std::vector<TokenId> ids;
  ids.reserve(list.size());
  for (std::size_t i = 0; i < list.size(); ++i) {
    const Json& item = list[i];
    // The common case without building a path.
    if (item.is_number_unsigned()) {
      const auto id = item.get<std::uint64_t>();
      if (id < static_cast<std::uint64_t>(vocab_size)) {
        ids.push_back(static_cast<TokenId>(id));
        continue;
      }
    }
    const std::string item_path = fmt::format("{}[{}]", path, i);
    auto id = ReadInt(item, item_path, std::numeric_limits<std::int64_t>::min(),
                      std::numeric_limits<std::int64_t>::max());
    if (!id) return id.error();
    if (*id < 0 || *id >= vocab_size)
      return InvalidRequest(fmt::format("'{}' is out of the vocabulary: token ids are 0 to {}",
                                        item_path, vocab_size - 1),
                            item_path, "token_out_of_vocabulary");
    ids.push_back(static_cast<TokenId>(*id));
  }
  return ids;
}

FieldReader::FieldReader(const Json& object, std::string path) : path_(std::move(path)) {
  if (!object.is_object()) {
    error_ = path_.empty() ? InvalidRequest("the body must be a JSON object", "", "invalid_type")
                           : WrongType(path_, "an object");
    return;
  }
  if (object.size() > kMaxFields) {
    error_ = InvalidRequest(fmt::format("an object has more than {} fields", kMaxFields), path_,
                            "too_many_fields");
    return;
  }
  fields_.reserve(object.size());
  for (const auto& [name, value] : object.get_ref<const Json::object_t&>())
    if (!value.is_null()) fields_.emplace(name, &value);
}

std::string FieldReader::PathOf(std::string_view name) const {
  if (name.empty()) return path_;
  return path_.empty() ? std::string(name) : fmt::format("{}.{}", path_, name);
}

void FieldReader::Fail(std::string message, std::string_view name, std::string_view code) {
  FailWith(InvalidRequest(std::move(message), PathOf(name), std::string(code)));
}

void FieldReader::FailWith(Error error) {
  if (!error_) error_ = std::move(error);
}

const Json* FieldReader::Find(std::string_view name) const {
  if (error_) return nullptr;
  const auto found = fields_.find(name);
  return found == fields_.end() ? nullptr : found->second;
}

bool FieldReader::Bool(std::string_view name, bool otherwise) {
  const Json* value = Find(name);
  if (value == nullptr) return otherwise;
  if (value->is_boolean()) return value->get<bool>();
  FailWith(WrongType(PathOf(name), "true or false"));
  return otherwise;
}

std::optional<std::int64_t> FieldReader::Int(std::string_view name, std::int64_t low,
                                             std::int64_t high) {
  const Json* value = Find(name);
  if (value == nullptr) return std::nullopt;
  auto number = ReadInt(*value, PathOf(name), low, high);
  if (number) return *number;
  FailWith(number.error());
  return std::nullopt;
}

std::optional<double> FieldReader::Number(std::string_view name, double low, double high) {
  const Json* value = Find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number()) {
    FailWith(WrongType(PathOf(name), "a number"));
    return std::nullopt;
  }
  const auto number = value->get<double>();
  if (number >= low && number <= high) return number;  // false for a NaN, too
  Fail(fmt::format("'{}' must be between {} and {}", PathOf(name), low, high), name,
       number > high ? "decimal_above_max_value" : "decimal_below_min_value");
  return std::nullopt;
}

std::optional<std::string> FieldReader::String(std::string_view name, std::size_t max_bytes) {
  const Json* value = Find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) {
    FailWith(WrongType(PathOf(name), "a string"));
    return std::nullopt;
  }
  const auto& text = value->get_ref<const std::string&>();
  if (text.size() <= max_bytes) return text;
  Fail(fmt::format("'{}' must have at most {} bytes", PathOf(name), max_bytes), name,
       "string_above_max_length");
  return std::nullopt;
}

const Json* FieldReader::Object(std::string_view name) {
  const Json* value = Find(name);
  if (value == nullptr || value->is_object()) return value;
  FailWith(WrongType(PathOf(name), "an object"));
  return nullptr;
}

const Json* FieldReader::Array(std::string_view name, std::size_t max_size) {
  const Json* value = Find(name);
  if (value == nullptr) return nullptr;
  if (!value->is_array()) {
    FailWith(WrongType(PathOf(name), "an array"));
    return nullptr;
  }
  if (value->size() <= max_size) return value;
  Fail(fmt::format("'{}' must have at most {} items", PathOf(name), max_size), name,
       "array_above_max_length");
  return nullptr;
}

std::vector<TokenId> FieldReader::TokenIds(std::string_view name, std::size_t max_size,
                                           std::int64_t vocab_size) {
  const Json* list = Array(name, max_size);
  if (list == nullptr) return {};
  auto ids = ReadTokenIds(*list, PathOf(name), vocab_size);
  if (ids) return std::move(*ids);
  FailWith(ids.error());
  return {};
}

std::vector<std::string> FieldReader::Strings(std::string_view name, std::size_t max_size,
                                              std::size_t max_bytes, bool or_one) {
  std::vector<std::string> texts;
  const Json* value = Find(name);
  if (value == nullptr) return texts;
  auto take = [&](const Json& item, const std::string& path) {
    if (!item.is_string()) return FailWith(WrongType(path, "a string"));
    const auto& text = item.get_ref<const std::string&>();
    if (text.empty())
      return FailWith(InvalidRequest(fmt::format("'{}' must not be empty", path), path,
                                     "string_below_min_length"));
    if (text.size() > max_bytes)
      return FailWith(
          InvalidRequest(fmt::format("'{}' must have at most {} bytes", path, max_bytes), path,
                         "string_above_max_length"));
    texts.push_back(text);
  };
  if (or_one && value->is_string()) {
    take(*value, PathOf(name));
    return texts;
  }
  if (const Json* list = Array(name, max_size); list != nullptr)
    for (std::size_t i = 0; i < list->size() && ok(); ++i)
      take((*list)[i], fmt::format("{}[{}]", PathOf(name), i));
  return texts;
}

}  // namespace quire
