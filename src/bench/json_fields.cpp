#include "bench/json_fields.h"

#include <cmath>
#include <nlohmann/json.hpp>

namespace quire {
namespace {

bool IsPair(const Json& value) { return value.is_array() && value.size() == 2; }

}  // namespace

JsonFields::JsonFields(const Json& object, std::string file, std::string path)
    : object_(&object), file_(std::move(file)), path_(std::move(path)) {
  if (object_->is_object()) return;
  error_ = ConfigFault(file_ + ": " + (path_.empty() ? "the file" : "field " + path_) +
                       " must be a JSON object");
}

const Json* JsonFields::Find(const std::string& name) const {
  if (!object_->is_object()) return nullptr;
  const auto found = object_->find(name);
  return found == object_->end() || found->is_null() ? nullptr : &*found;
}

const Json* JsonFields::FindArray(const std::string& name) {
  const Json* value = Find(name);
  if (value == nullptr || value->is_array()) return value;
  Fail(name, "must be an array");
  return nullptr;
}

void JsonFields::Fail(const std::string& name, const std::string& what) {
  if (error_) return;
  const std::string path = path_.empty() ? name : path_ + "." + name;
  error_ = ConfigFault(file_ + ": field " + path + " " + what);
}

void JsonFields::Take(const JsonFields& other) {
  if (!error_) error_ = other.error_;
}

Status JsonFields::status() const {
  if (error_) return *error_;
  return {};
}

void JsonFields::Require(const std::string& name) {
  if (!Has(name)) Fail(name, "is missing");
}

std::optional<double> JsonFields::NumberOf(const Json& value, const std::string& name, double low,
                                           double high) {
  if (!value.is_number()) {
    Fail(name, "must be a number");
    return {};
  }
  const double number = value.get<double>();
  if (!(number >= low && number <= high)) {
    Fail(name, "is out of range");
    return {};
  }
  return number;
}

void JsonFields::Number(const std::string& name, double& out, double low, double high) {
  const Json* value = Find(name);
  if (value == nullptr) return;
  if (const auto number = NumberOf(*value, name, low, high)) out = *number;
}

void JsonFields::Rate(const std::string& name, double& out) {
  const Json* value = Find(name);
  if (value != nullptr && value->is_string() && value->get_ref<const std::string&>() == "inf") {
    out = std::numeric_limits<double>::infinity();
  } else {
    Number(name, out);
  }
}

void JsonFields::Count(const std::string& name, std::uint64_t& out) {
  const Json* value = Find(name);
  if (value == nullptr) return;
  if (value->is_number_unsigned()) {
    out = value->get<std::uint64_t>();
  } else if (const auto number = NumberOf(*value, name, 0, 9e15)) {
    if (std::floor(*number) != *number) return Fail(name, "must be a whole number");
    out = static_cast<std::uint64_t>(*number);
  }
}

void JsonFields::Count(const std::string& name, std::int64_t& out) {
  std::uint64_t value = static_cast<std::uint64_t>(out);
  Count(name, value);
  if (value > std::uint64_t{9'000'000'000'000'000}) return Fail(name, "is out of range");
  out = static_cast<std::int64_t>(value);
}

void JsonFields::Count(const std::string& name, int& out) {
  std::int64_t value = out;
  Count(name, value);
  if (value > std::numeric_limits<int>::max()) return Fail(name, "is out of range");
  out = static_cast<int>(value);
}

void JsonFields::Text(const std::string& name, std::string& out) {
  const Json* value = Find(name);
  if (value == nullptr) return;
  if (!value->is_string()) return Fail(name, "must be a string");
  out = value->get_ref<const std::string&>();
}

void JsonFields::Flag(const std::string& name, bool& out) {
  const Json* value = Find(name);
  if (value == nullptr) return;
  if (!value->is_boolean()) return Fail(name, "must be true or false");
  out = value->get<bool>();
}

// `read` gives one entry, or nothing after it has said what is wrong.
template <class Out, class Read>
void JsonFields::Array(const std::string& name, std::vector<Out>& out, const Read& read) {
  const Json* array = FindArray(name);
  if (array == nullptr) return;
  std::vector<Out> entries;
  entries.reserve(array->size());
  for (const Json& value : *array) {
    std::optional<Out> entry = read(value);
    if (!entry) return Fail(name, "has an entry that is not as it should be");
    entries.push_back(std::move(*entry));
  }
  out = std::move(entries);
}

void JsonFields::Numbers(const std::string& name, std::vector<double>& out, double low,
                         double high) {
  Array(name, out, [&](const Json& value) { return NumberOf(value, name, low, high); });
}

void JsonFields::Counts(const std::string& name, std::vector<int>& out) {
  Array(name, out, [&](const Json& value) -> std::optional<int> {
    const auto number = NumberOf(value, name, 0, std::numeric_limits<int>::max());
    if (!number) return {};
    return static_cast<int>(*number);
  });
}

void JsonFields::Texts(const std::string& name, std::vector<std::string>& out) {
  Array(name, out, [](const Json& value) -> std::optional<std::string> {
    if (!value.is_string()) return {};
    return value.get<std::string>();
  });
}

void JsonFields::NumberLists(const std::string& name, std::vector<std::vector<float>>& out,
                             double high) {
  Array(name, out, [&](const Json& list) -> std::optional<std::vector<float>> {
    if (!list.is_array()) return {};
    std::vector<float> numbers;
    numbers.reserve(list.size());
    for (const Json& value : list) {
      const auto number = NumberOf(value, name, 0, high);
      if (!number) return {};
      numbers.push_back(static_cast<float>(*number));
    }
    return numbers;
  });
}

void JsonFields::NumberPairs(const std::string& name, std::vector<std::pair<double, double>>& out) {
  Array(name, out, [&](const Json& value) -> std::optional<std::pair<double, double>> {
    if (!IsPair(value)) return {};
    const auto first = NumberOf(value[0], name, -1e15, 1e15);
    const auto second = NumberOf(value[1], name, -1e15, 1e15);
    if (!first || !second) return {};
    return std::pair(*first, *second);
  });
}

void JsonFields::TextNumberPairs(const std::string& name,
                                 std::vector<std::pair<std::string, double>>& out) {
  Array(name, out, [&](const Json& value) -> std::optional<std::pair<std::string, double>> {
    if (!IsPair(value) || !value[0].is_string()) return {};
    const auto number = NumberOf(value[1], name, 0, 1e15);
    if (!number) return {};
    return std::pair(value[0].get<std::string>(), *number);
  });
}

void JsonFields::TextPairs(const std::string& name,
                           std::vector<std::pair<std::string, std::string>>& out) {
  Array(name, out, [](const Json& value) -> std::optional<std::pair<std::string, std::string>> {
    if (!IsPair(value) || !value[0].is_string() || !value[1].is_string()) return {};
    return std::pair(value[0].get<std::string>(), value[1].get<std::string>());
  });
}

std::optional<JsonFields> JsonFields::Child(const std::string& name) {
  const Json* value = Find(name);
  if (value == nullptr) return {};
  return JsonFields(*value, file_, path_.empty() ? name : path_ + "." + name);
}

std::vector<JsonFields> JsonFields::Children(const std::string& name) {
  std::vector<JsonFields> children;
  const Json* array = FindArray(name);
  if (array == nullptr) return children;
  for (std::size_t i = 0; i < array->size(); ++i) {
    const std::string path = name + "[" + std::to_string(i) + "]";
    children.emplace_back((*array)[i], file_, path_.empty() ? path : path_ + "." + path);
  }
  return children;
}

std::vector<std::string> JsonFields::Names() const {
  std::vector<std::string> names;
  if (!object_->is_object()) return names;
  for (const auto& [name, value] : object_->items()) names.push_back(name);
  return names;
}

}  // namespace quire
