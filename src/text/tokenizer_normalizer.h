// Normalizer: rewrites text before it is cut into pieces.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/tokenizer_json.h"

namespace quire {

// Owns the steps of tokenizer.json's normalizer. Immutable.
class Normalizer {
 public:
  class Step;  // rewrites text

  // Of the field normalizer; nothing for null.
  static Result<Normalizer> Parse(const std::optional<JsonView>& config);

  Normalizer();
  ~Normalizer();
  Normalizer(Normalizer&&) noexcept;
  Normalizer& operator=(Normalizer&&) noexcept;

  // Of valid UTF-8 text, again valid UTF-8.
  std::string Apply(std::string_view text) const;

 private:
  std::vector<std::unique_ptr<const Step>> steps_;
};

}  // namespace quire
