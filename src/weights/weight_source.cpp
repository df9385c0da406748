#include "weights/weight_source.h"

namespace quire {

WeightSource WeightSource::operator/(std::string_view name) const {
  return WeightSource(store_, Full(name));
}

std::string WeightSource::Full(std::string_view name) const {
  if (prefix_.empty()) return std::string(name);
  std::string full = prefix_;
  full += '.';
  full += name;
  return full;
}

}  // namespace quire
