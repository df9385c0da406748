// The Prometheus text format, version 0.0.4, with values as Prometheus' Python client (and so vLLM)
// writes them.
#pragma once

#include <prometheus/metric_family.h>

#include <string>
#include <vector>

namespace quire {

// HELP and TYPE, then the samples of each family. Whole numbers are written with a fraction
// ("16.0"): readers that tell integers from floats see what vLLM shows them.
std::string MetricsText(const std::vector<prometheus::MetricFamily>& families);

}  // namespace quire
