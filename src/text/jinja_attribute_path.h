// "a.b.0": the path by which filters look into items.
#pragma once

#include <vector>

#include "text/jinja_value.h"

namespace quire::jinja {

// Gets the value that lies at a path inside of an item; owns the path.
class AttributePath {
 public:
  // From text or a number; None and undefined give the item itself.
  AttributePath(Heap& heap, const Value& path);

  // A missing value on the way becomes `fallback` unless that is null.
  Value Get(Heap& heap, const Value& item, const Value* fallback = nullptr) const;

 private:
  std::vector<Value> parts_;
};

}  // namespace quire::jinja
