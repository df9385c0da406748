#include "topology/nvml.h"

#include <dlfcn.h>

#include <string>

namespace quire {
namespace {

template <class R, class... Args>
void Bind(const NvmlApi& api, const char* symbol, std::function<R(Args...)>& slot) {
  if (void* address = ::dlsym(api.library.get(), symbol))
    slot = reinterpret_cast<R (*)(Args...)>(address);
}

}  // namespace

Result<NvmlApi> LoadNvmlApi() {
  NvmlApi api;
  // Never unmapped: the driver's library starts threads of its own in some versions.
  void* library = ::dlopen("libnvidia-ml.so.1", RTLD_LAZY | RTLD_LOCAL | RTLD_NODELETE);
  if (library == nullptr)
    return Error{ErrorKind::kDevice, "libnvidia-ml.so.1 was not found", "", ""};
  api.library = std::shared_ptr<void>(library, [](void* handle) { ::dlclose(handle); });
  Bind(api, "nvmlInit_v2", api.init);
  Bind(api, "nvmlShutdown", api.shutdown);
  Bind(api, "nvmlErrorString", api.error_string);
  Bind(api, "nvmlSystemGetDriverVersion", api.driver_version);
  Bind(api, "nvmlDeviceGetCount_v2", api.device_count);
  Bind(api, "nvmlDeviceGetHandleByIndex_v2", api.device_by_index);
  Bind(api, "nvmlDeviceGetName", api.name);
  Bind(api, "nvmlDeviceGetUUID", api.uuid);
  Bind(api, "nvmlDeviceGetPciInfo_v3", api.pci_info);
  Bind(api, "nvmlDeviceGetCudaComputeCapability", api.compute_capability);
  Bind(api, "nvmlDeviceGetMemoryInfo", api.memory_info);
  Bind(api, "nvmlDeviceGetCurrPcieLinkGeneration", api.pcie_generation);
  Bind(api, "nvmlDeviceGetCurrPcieLinkWidth", api.pcie_width);
  Bind(api, "nvmlDeviceGetMaxPcieLinkGeneration", api.pcie_max_generation);
  Bind(api, "nvmlDeviceGetMaxPcieLinkWidth", api.pcie_max_width);
  Bind(api, "nvmlDeviceGetCpuAffinity", api.cpu_affinity);
  Bind(api, "nvmlDeviceGetMigMode", api.mig_mode);
  Bind(api, "nvmlDeviceGetPowerUsage", api.power_usage);
  Bind(api, "nvmlDeviceGetEnforcedPowerLimit", api.power_limit);
  Bind(api, "nvmlDeviceGetTotalEnergyConsumption", api.total_energy);
  Bind(api, "nvmlDeviceGetNvLinkState", api.nvlink_state);
  Bind(api, "nvmlDeviceGetNvLinkVersion", api.nvlink_version);
  Bind(api, "nvmlDeviceGetNvLinkRemotePciInfo_v2", api.nvlink_remote_pci);
  Bind(api, "nvmlDeviceGetNvLinkRemoteDeviceType", api.nvlink_remote_type);
  Bind(api, "nvmlDeviceGetFieldValues", api.field_values);
  Bind(api, "nvmlDeviceGetTopologyCommonAncestor", api.common_ancestor);
  Bind(api, "nvmlDeviceGetP2PStatus", api.p2p_status);
  return api;
}

std::string NvmlErrorText(const NvmlApi& api, int result) {
  const char* text = api.error_string ? api.error_string(result) : nullptr;
  return text != nullptr ? text : "error " + std::to_string(result);
}

Result<std::unique_ptr<NvmlSession>> NvmlSession::Open(NvmlApi api) {
  if (const int result = NvmlCall(api.init); result != kNvmlSuccess) {
    return Error{ErrorKind::kDevice, "NVML does not start: " + NvmlErrorText(api, result), "", ""};
  }
  return std::unique_ptr<NvmlSession>(new NvmlSession(std::move(api)));
}

}  // namespace quire
