#include "text/jinja_json.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/utf8.h"
#include "text/jinja_operators.h"
#include "text/jinja_strings.h"

namespace quire::jinja {
namespace {

constexpr int kMaxDepth = 120;  // a document's own 100 and the containers around it

std::string ValidText(const std::string& text) {
  return IsValidUtf8(text) ? text : ToValidUtf8(text);
}

// Writes values as json.dumps() does; owns the text so far.
class JsonWriter {
 public:
  JsonWriter(Heap& heap, const JsonStyle& style) : heap_(heap), style_(style) {}

  void Append(const Value& value, int depth) {
    if (depth > kMaxDepth) throw TemplateError("a value is nested too deeply for JSON");
    heap_.budget().Step();
    heap_.budget().Require(out_.size());
    switch (value.kind()) {
      case Kind::kNone:
        out_ += "null";
        return;
      case Kind::kBool:
        out_ += value.boolean() ? "true" : "false";
        return;
      case Kind::kInt:
        out_ += std::to_string(value.integer());
        return;
      case Kind::kFloat:
        AppendNumber(value.number());
        return;
      case Kind::kString:
        heap_.budget().StepBytes(value.text().size());
        AppendJson(out_, value.text(), style_.ascii_only);
        return;
      case Kind::kDict:
        AppendDict(value.dict(), depth);
        return;
      case Kind::kSeq:
        if (value.seq().type <= SeqType::kGroup) return AppendList(value.seq(), depth);
        break;
      default:
        break;
    }
    throw TemplateError("Object of type " + std::string(value.TypeName()) +
                        " is not JSON serializable");
  }
  std::string Take() { return std::move(out_); }

 private:
  void AppendNumber(double number) {
    if (std::isfinite(number)) {
      out_ += FormatFloat(number);
    } else {
      out_ += std::isnan(number) ? "NaN" : number > 0 ? "Infinity" : "-Infinity";
    }
  }

  void AppendBreak(int depth) {
    if (!style_.has_indent) return;
    out_ += '\n';
    for (int i = 0; i < depth; ++i) out_ += style_.indent;
  }

  void AppendList(const Seq& seq, int depth) {
    if (seq.items.empty()) {
      out_ += "[]";
      return;
    }
    out_ += '[';
    bool first = true;
    for (const Value& item : seq.items) {
      if (!first) out_ += style_.item_separator;
      first = false;
      AppendBreak(depth + 1);
      Append(item, depth + 1);
    }
    AppendBreak(depth);
    out_ += ']';
  }

  void AppendKey(const Value& key) {
    if (key.is_string()) {
      AppendJson(out_, key.text(), style_.ascii_only);
    } else if (key.is_none() || key.is_number()) {
      out_ += '"';
      Append(key, 0);
      out_ += '"';
    } else {
      throw TemplateError("keys must be str, int, float, bool or None, not " +
                          std::string(key.TypeName()));
    }
  }

  void AppendDict(const Dict& dict, int depth) {
    if (dict.entries.empty()) {
      out_ += "{}";
      return;
    }
    std::vector<const std::pair<Value, Value>*> entries;
    for (const auto& entry : dict.entries) entries.push_back(&entry);
    if (style_.sort_keys) {
      std::stable_sort(entries.begin(), entries.end(), [this](const auto* a, const auto* b) {
        return Ordered(heap_, Operator::kLess, a->first, b->first);
      });
    }
    out_ += '{';
    bool first = true;
    for (const auto* entry : entries) {
      if (!first) out_ += style_.item_separator;
      first = false;
      AppendBreak(depth + 1);
      AppendKey(entry->first);
      out_ += style_.key_separator;
      Append(entry->second, depth + 1);
    }
    AppendBreak(depth);
    out_ += '}';
  }

  Heap& heap_;
  const JsonStyle& style_;
  std::string out_;
};

}  // namespace

Value FromJson(Heap& heap, const Json& json, int depth) {
  if (depth > kMaxDepth) throw TemplateError("a value is nested too deeply");
  switch (json.type()) {
    case Json::value_t::boolean:
      return Value::Bool(json.get<bool>());
    case Json::value_t::number_integer:
      return Value::Int(json.get<std::int64_t>());
    case Json::value_t::number_unsigned: {
      const auto number = json.get<std::uint64_t>();
      if (number > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
        return Value::Float(static_cast<double>(number));
      return Value::Int(static_cast<std::int64_t>(number));
    }
    case Json::value_t::number_float:
      return Value::Float(json.get<double>());
    case Json::value_t::string:
      return heap.NewString(ValidText(json.get_ref<const std::string&>()));
    case Json::value_t::array: {
      std::vector<Value> items;
      items.reserve(json.size());
      for (const Json& item : json) items.push_back(FromJson(heap, item, depth + 1));
      return heap.NewList(std::move(items));
    }
    case Json::value_t::object: {
      Dict* dict = heap.New<Dict>();
      for (const auto& [key, item] : json.items())
        heap.Append(*dict, heap.NewString(ValidText(key)), FromJson(heap, item, depth + 1));
      return Value::Of(dict);
    }
    default:
      return Value::None();
  }
}

std::string ToJson(Heap& heap, const Value& value, const JsonStyle& style) {
  JsonWriter writer(heap, style);
  writer.Append(value, 0);
  return writer.Take();
}

}  // namespace quire::jinja
