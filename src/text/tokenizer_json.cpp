#include "text/tokenizer_json.h"

#include <utility>

#include "base/utf8.h"

namespace quire {

std::optional<JsonView> JsonView::Find(std::string_view key) const {
  if (!value_->is_object()) return std::nullopt;
  for (const auto& [name, member] : value_->get_ref<const Json::object_t&>()) {
    if (name != key) continue;
    if (member.is_null()) return std::nullopt;
    return JsonView(member, file_, (path_.empty() ? "" : path_ + ".") + std::string(key));
  }
  return std::nullopt;
}

Result<JsonView> JsonView::Require(std::string_view key) const {
  if (!value_->is_object()) return Fault("must be an object");
  std::optional<JsonView> member = Find(key);
  if (!member) return Fault("lacks the field " + std::string(key));
  return *std::move(member);
}

JsonView JsonView::At(std::size_t index) const {
  return JsonView((*value_)[index], file_, path_ + "[" + std::to_string(index) + "]");
}

Result<std::string> JsonView::AsString() const {
  if (!value_->is_string()) return Fault("must be a string");
  return value_->get_ref<const std::string&>();
}

Result<TokenId> JsonView::AsTokenId() const {
  if (!value_->is_number_integer()) return Fault("must be a token id");
  const bool fits = value_->is_number_unsigned()
                        ? value_->get<std::uint64_t>() <= std::uint64_t{kMaxTokenId}
                        : value_->get<std::int64_t>() >= 0;
  if (!fits) return Fault("is a token id outside of 0 to " + std::to_string(kMaxTokenId));
  return static_cast<TokenId>(value_->get<std::int64_t>());
}

Result<std::string> JsonView::String(std::string_view key) const {
  Result<JsonView> member = Require(key);
  if (!member) return member.error();
  return member->AsString();
}

Result<std::string> JsonView::StringOr(std::string_view key, std::string_view fallback) const {
  const std::optional<JsonView> member = Find(key);
  if (!member) return std::string(fallback);
  return member->AsString();
}

Result<bool> JsonView::BoolOr(std::string_view key, bool fallback) const {
  const std::optional<JsonView> member = Find(key);
  if (!member) return fallback;
  if (!member->json().is_boolean()) return member->Fault("must be true or false");
  return member->json().get<bool>();
}

Result<std::int64_t> JsonView::IntOr(std::string_view key, std::int64_t fallback) const {
  const std::optional<JsonView> member = Find(key);
  if (!member) return fallback;
  if (!member->json().is_number_integer()) return member->Fault("must be an integer");
  return member->json().get<std::int64_t>();
}

Result<JsonView> JsonView::Array(std::string_view key) const {
  Result<JsonView> member = Require(key);
  if (!member) return member.error();
  if (!member->json().is_array()) return member->Fault("must be an array");
  return member;
}

Error JsonView::Fault(std::string_view message) const {
  std::string text = file_ + ": ";
  if (!path_.empty()) text += path_ + " ";
  return ModelFault(text += message);
}

std::string Quoted(std::string_view text) {
  constexpr std::size_t kLongest = 60;
  std::string out;
  if (text.size() <= kLongest) {
    AppendJsonString(out, text);
    return out;
  }
  text = text.substr(0, kLongest);
  text.remove_suffix(IncompleteUtf8Tail(text));
  AppendJsonString(out, text);
  return out + "…";
}

}  // namespace quire
