#include "base/result.h"

namespace quire {

Error InvalidRequest(std::string message, std::string param, std::string code) {
  return {ErrorKind::kInvalidRequest, std::move(message), std::move(param), std::move(code)};
}

Error ModelFault(std::string message) { return {ErrorKind::kModel, std::move(message), "", ""}; }

Error ConfigFault(std::string message) { return {ErrorKind::kConfig, std::move(message), "", ""}; }

}  // namespace quire
