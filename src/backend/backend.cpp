#include "backend/backend.h"

namespace quire {

Status Backend::PrepareSteps(const StepLimits&, std::span<const KvLayer>) { return {}; }

void Backend::BeginStep(const AttentionBatch&, std::span<const KvLayer>) {}

float Backend::MicrosecondsBetween(std::uint64_t, std::uint64_t) { return 0; }

Status Backend::StartProfile() {
  return Error{ErrorKind::kDevice, "this device keeps no record of its work", "", ""};
}

DeviceProfile Backend::StopProfile() { return {}; }

void Backend::BeginRange(const char*, std::int64_t) {}

void Backend::EndRange() {}

void Backend::Replay(std::uint64_t, const std::function<void()>& launch) { launch(); }

int Backend::ReplayBucket(int) const { return 0; }

void Backend::AddRmsNorm(const Tensor& x, const Tensor& residual, const Tensor& weight, float eps,
                         const Tensor& out) {
  Add(residual, x);
  RmsNorm(residual, weight, eps, out);
}

void Backend::MatMulSiluAndMul(const Tensor& x, const LinearWeight& weight, const Tensor& gate_up,
                               const Tensor& out) {
  MatMul(x, weight, gate_up);
  SiluAndMul(gate_up, out);
}

void Backend::RotateAndStoreKv(const Tensor& q, const Tensor& k, const Tensor& v,
                               const QkTransform& how, const AttentionBatch& batch,
                               const KvLayer& cache) {
  if (!how.q_norm.empty()) RmsNorm(q, how.q_norm, how.norm_eps, q);
  if (!how.k_norm.empty()) RmsNorm(k, how.k_norm, how.norm_eps, k);
  Rope(q, k, batch.positions, how.cos_sin);
  StoreKv(k, v, batch.kv_slots, cache);
}

}  // namespace quire
