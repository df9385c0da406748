#include "base/json.h"

#include <nlohmann/json.hpp>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/utf8.h"

namespace quire {
namespace {

// Builds the document while it counts depth and remembers keys. nlohmann's parser keeps its own
// stack on the heap, so nesting costs no machine stack before we refuse it.
class Builder : public nlohmann::json_sax<Json> {
 public:
  Builder(Json& root, const JsonLimits& limits) : root_(root), limits_(limits) {}

  bool null() override { return Put(nullptr); }
  bool boolean(bool value) override { return Put(value); }
  bool number_integer(number_integer_t value) override { return Put(value); }
  bool number_unsigned(number_unsigned_t value) override { return Put(value); }
  bool number_float(number_float_t value, const string_t&) override { return Put(value); }
  bool string(string_t& value) override { return Put(std::move(value)); }
  bool binary(binary_t&) override { return false; }

  bool start_object(std::size_t) override { return Open(Json::object()); }
  bool end_object() override { return Close(); }
  bool start_array(std::size_t) override { return Open(Json::array()); }
  bool end_array() override { return Close(); }

  bool key(string_t& name) override {
    if (name.size() > limits_.max_key_bytes) return Fail("a key is too long", "invalid_json");
    const auto [known, fresh] = keys_.back().emplace(name, keys_.back().size());
    if (!fresh && !limits_.allow_duplicate_keys)
      return Fail("a key is given twice", "duplicate_key");
    key_ = std::move(name);
    key_index_ = known->second;
    return true;
  }

  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    return Fail("could not parse the JSON (near byte " + std::to_string(position) + ")",
                "invalid_json");
  }

  Error TakeError() && { return std::move(error_); }

 private:
  template <class Value>
  bool Put(Value&& value) {
    Add(Json(std::forward<Value>(value)));
    return true;
  }

  Json* Add(Json value) {
    if (stack_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    Json& parent = *stack_.back();
    if (parent.is_array()) {
      parent.push_back(std::move(value));
      return &parent.back();
    }
    // ordered_json's operator[] searches all keys; ours know their place.
    auto& object = parent.get_ref<Json::object_t&>();
    if (key_index_ < object.size()) {  // given twice: the last one counts, as in Python
      (object.begin() + static_cast<std::ptrdiff_t>(key_index_))->second = std::move(value);
    } else {
      object.emplace_back(std::move(key_), std::move(value));
    }
    return &(object.begin() + static_cast<std::ptrdiff_t>(key_index_))->second;
  }

  bool Open(Json container) {
    if (static_cast<int>(stack_.size()) >= limits_.max_depth)
      return Fail("the JSON is nested too deeply", "json_too_deep");
    stack_.push_back(Add(std::move(container)));
    keys_.emplace_back();
    return true;
  }

  bool Close() {
    stack_.pop_back();
    keys_.pop_back();
    return true;
  }

  bool Fail(std::string message, std::string code) {
    error_ = {ErrorKind::kInvalidRequest, std::move(message), "", std::move(code)};
    return false;
  }

  Json& root_;
  const JsonLimits& limits_;
  std::vector<Json*> stack_;
  // Of the objects that are open: key → place. Arrays have an empty one.
  std::vector<std::unordered_map<std::string, std::size_t>> keys_;
  std::string key_;
  std::size_t key_index_ = 0;
  Error error_{ErrorKind::kInvalidRequest, "could not parse the JSON", "", "invalid_json"};
};

}  // namespace

Result<Json> ParseJson(std::string_view text, const JsonLimits& limits) {
  if (text.empty())
    return InvalidRequest("could not parse the JSON: it is empty", "", "invalid_json");
  Json root;
  Builder builder(root, limits);
  if (!Json::sax_parse(text.begin(), text.end(), &builder)) return std::move(builder).TakeError();
  return root;
}

std::string WriteJson(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

void AppendJsonString(std::string& out, std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  out.push_back('"');
  std::size_t plain = 0;  // start of the run that is copied as it is
  std::size_t at = 0;
  auto flush = [&](std::size_t end) { out.append(text.substr(plain, end - plain)); };
  while (at < text.size()) {
    const auto byte = static_cast<unsigned char>(text[at]);
    if (byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\') {
      ++at;
      continue;
    }
    if (byte >= 0x80) {
      const Utf8Char decoded = DecodeUtf8(text.substr(at));
      if (!decoded.valid) {
        flush(at);
        out.append("\xef\xbf\xbd");
        plain = at + decoded.length;
      }
      at += decoded.length;
      continue;
    }
    flush(at);
    switch (byte) {
      case '"':
        out.append("\\\"");
        break;
      case '\\':
        out.append("\\\\");
        break;
      case '\n':
        out.append("\\n");
        break;
      case '\r':
        out.append("\\r");
        break;
      case '\t':
        out.append("\\t");
        break;
      default:
        out.append("\\u00");
        out.push_back(kHex[byte >> 4]);
        out.push_back(kHex[byte & 15]);
    }
    plain = ++at;
  }
  flush(at);
  out.push_back('"');
}

}  // namespace quire
