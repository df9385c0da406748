// str() and repr() of values (jinja_operators.h).
#include <string>

#include "text/jinja_operators.h"
#include "text/jinja_strings.h"

namespace quire::jinja {
namespace {

constexpr int kMaxDepth = 100;

// Writes values as Python's repr() does; owns the text so far.
class Printer {
 public:
  explicit Printer(Heap& heap) : heap_(heap) {}

  void Append(const Value& value, int depth = 0) {
    if (depth > kMaxDepth) throw TemplateError("a value is nested too deeply to be printed");
    heap_.budget().Step();
    heap_.budget().Require(out_.size());
    switch (value.kind()) {
      case Kind::kUndefined:
        out_ += "Undefined";
        break;
      case Kind::kNone:
        out_ += "None";
        break;
      case Kind::kBool:
        out_ += value.boolean() ? "True" : "False";
        break;
      case Kind::kInt:
        out_ += std::to_string(value.integer());
        break;
      case Kind::kFloat:
        out_ += FormatFloat(value.number());
        break;
      case Kind::kString:
        AppendString(value);
        break;
      case Kind::kSeq:
        AppendSeq(value.seq(), depth);
        break;
      case Kind::kDict:
        AppendDict(value.dict(), depth);
        break;
      case Kind::kNamespace:
        out_ += "<Namespace ";
        AppendDict(value.space().attributes, depth);
        out_ += ">";
        break;
      case Kind::kCallable:
        AppendCallable(value.callable());
        break;
      case Kind::kLoop:
        out_ += "<LoopContext>";
        break;
    }
  }
  std::string Take() { return std::move(out_); }

 private:
  void AppendString(const Value& value) {
    heap_.budget().StepBytes(value.text().size());
    if (value.is_markup()) out_ += "Markup(";
    AppendRepr(out_, value.text());
    if (value.is_markup()) out_ += ")";
  }

  void AppendSeq(const Seq& seq, int depth) {
    switch (seq.type) {
      case SeqType::kGenerator:
        out_ += "<generator object>";
        return;
      case SeqType::kRange:
        out_ += "range(" + std::to_string(seq.range[0]) + ", " + std::to_string(seq.range[1]);
        if (seq.range[2] != 1) out_ += ", " + std::to_string(seq.range[2]);
        out_ += ")";
        return;
      case SeqType::kTuple:
      case SeqType::kGroup:
        AppendItems(seq, "(", seq.items.size() == 1 ? ",)" : ")", depth);
        return;
      case SeqType::kList:
        AppendItems(seq, "[", "]", depth);
        return;
      case SeqType::kDictItems:
        return AppendItems(seq, "dict_items([", "])", depth);
      case SeqType::kDictKeys:
        return AppendItems(seq, "dict_keys([", "])", depth);
      case SeqType::kDictValues:
        return AppendItems(seq, "dict_values([", "])", depth);
    }
  }

  void AppendItems(const Seq& seq, std::string_view open, std::string_view close, int depth) {
    out_ += open;
    bool first = true;
    for (const Value& item : seq.items) {
      if (!first) out_ += ", ";
      first = false;
      Append(item, depth + 1);
    }
    out_ += close;
  }

  void AppendDict(const Dict& dict, int depth) {
    out_ += "{";
    bool first = true;
    for (const auto& [key, value] : dict.entries) {
      if (!first) out_ += ", ";
      first = false;
      Append(key, depth + 1);
      out_ += ": ";
      Append(value, depth + 1);
    }
    out_ += "}";
  }

  void AppendCallable(const Callable& callable) {
    if (callable.macro != nullptr) {
      out_ += "<Macro '" + std::string(callable.name) + "'>";
    } else {
      out_ += "<built-in function " + std::string(callable.name) + ">";
    }
  }

  Heap& heap_;
  std::string out_;
};

}  // namespace

std::string Repr(Heap& heap, const Value& value) {
  Printer printer(heap);
  printer.Append(value);
  return printer.Take();
}

std::string Print(Heap& heap, const Value& value) {
  if (value.is_string()) return value.text();
  if (value.is_undefined()) return "";
  return Repr(heap, value);
}

}  // namespace quire::jinja
