// JsonFields: reads the fields of an object out of a file that anyone may have written.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/result.h"

namespace quire {

// Borrows an object of a file. A field that is missing or null leaves its target as it is; one that
// is wrong leaves an error that names file and field, of which the first is kept.
class JsonFields {
 public:
  // `object` may be anything; what is no object has an error. `path` names it in messages, empty
  // for the file itself.
  JsonFields(const Json& object, std::string file, std::string path = "");

  bool Has(const std::string& name) const { return Find(name) != nullptr; }
  void Require(const std::string& name);

  void Number(const std::string& name, double& out, double low = 0, double high = 1e15);
  void Rate(const std::string& name, double& out);  // a number, or "inf"
  void Count(const std::string& name, int& out);
  void Count(const std::string& name, std::int64_t& out);
  void Count(const std::string& name, std::uint64_t& out);
  void Text(const std::string& name, std::string& out);
  void Flag(const std::string& name, bool& out);
  void Numbers(const std::string& name, std::vector<double>& out, double low = 0,
               double high = 1e15);
  void Counts(const std::string& name, std::vector<int>& out);
  void Texts(const std::string& name, std::vector<std::string>& out);
  void NumberLists(const std::string& name, std::vector<std::vector<float>>& out, double high);
  void NumberPairs(const std::string& name, std::vector<std::pair<double, double>>& out);
  void TextNumberPairs(const std::string& name, std::vector<std::pair<std::string, double>>& out);
  void TextPairs(const std::string& name, std::vector<std::pair<std::string, std::string>>& out);

  // The fields of an object inside this one; nothing where it is missing.
  std::optional<JsonFields> Child(const std::string& name);
  // Those of the objects of an array.
  std::vector<JsonFields> Children(const std::string& name);
  // The names of all fields.
  std::vector<std::string> Names() const;

  void Fail(const std::string& name, const std::string& what);
  // The first error of this one or of another, which may be a child.
  void Take(const JsonFields& other);
  Status status() const;

 private:
  const Json* Find(const std::string& name) const;
  const Json* FindArray(const std::string& name);
  std::optional<double> NumberOf(const Json& value, const std::string& name, double low,
                                 double high);
  template <class Out, class Read>
  void Array(const std::string& name, std::vector<Out>& out, const Read& read);

  const Json* object_;
  std::string file_;
  std::string path_;
  std::optional<Error> error_;
};

}  // namespace quire
