#include "backend/cuda/cublaslt.h"

#include <dlfcn.h>
#include <fmt/core.h>

#include <string>

namespace quire::cuda {
namespace {

// The major version that the headers are of: its binary interface.
const std::string& LibraryName() {
  static const std::string name = "libcublasLt.so." + std::to_string(CUBLAS_VER_MAJOR);
  return name;
}

}  // namespace

CublasLt::~CublasLt() {
  if (library != nullptr) ::dlclose(library);
}

Result<std::unique_ptr<CublasLt>> CublasLt::Open() {
  auto lt = std::make_unique<CublasLt>();
  const std::string places[] = {LibraryName(), "/usr/local/cuda/lib64/" + LibraryName()};
  for (const std::string& place : places) {
    if (lt->library == nullptr) lt->library = ::dlopen(place.c_str(), RTLD_NOW | RTLD_LOCAL);
  }
  if (lt->library == nullptr) {
    return Error{ErrorKind::kDevice,
                 fmt::format("{} is not there: install the CUDA {} toolkit's cuBLAS "
                             "(nvidia-cublas, libcublas)",
                             LibraryName(), CUBLAS_VER_MAJOR),
                 "", ""};
  }
  bool complete = true;
  const auto find = [&](auto& function, const char* name) {
    function =
        reinterpret_cast<std::remove_reference_t<decltype(function)>>(::dlsym(lt->library, name));
    complete = complete && function != nullptr;
  };
  find(lt->create, "cublasLtCreate");
  find(lt->destroy, "cublasLtDestroy");
  find(lt->matmul, "cublasLtMatmul");
  find(lt->desc_create, "cublasLtMatmulDescCreate");
  find(lt->desc_destroy, "cublasLtMatmulDescDestroy");
  find(lt->desc_set, "cublasLtMatmulDescSetAttribute");
  find(lt->layout_create, "cublasLtMatrixLayoutCreate");
  find(lt->layout_destroy, "cublasLtMatrixLayoutDestroy");
  find(lt->layout_set, "cublasLtMatrixLayoutSetAttribute");
  find(lt->preference_create, "cublasLtMatmulPreferenceCreate");
  find(lt->preference_destroy, "cublasLtMatmulPreferenceDestroy");
  find(lt->preference_set, "cublasLtMatmulPreferenceSetAttribute");
  find(lt->heuristic, "cublasLtMatmulAlgoGetHeuristic");
  find(lt->config_get, "cublasLtMatmulAlgoConfigGetAttribute");
  find(lt->version, "cublasLtGetVersion");
  find(lt->status_string, "cublasLtGetStatusString");
  if (!complete) {
    return Error{ErrorKind::kDevice, LibraryName() + " lacks functions that are needed", "", ""};
  }
  return lt;
}

}  // namespace quire::cuda
