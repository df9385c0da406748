#include "server/metrics_text.h"

#include <array>
#include <charconv>
#include <cmath>
#include <string_view>

namespace quire {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricType;

std::string Number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  std::array<char, 32> digits{};
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
  std::string text(digits.data(), end);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

void AppendEscaped(std::string& out, std::string_view text) {
  for (const char byte : text) {
    if (byte == '\\' || byte == '"') out.push_back('\\');
    if (byte == '\n') {
      out += "\\n";
    } else {
      out.push_back(byte);
    }
  }
}

// name{labels,extra} value
void AppendSample(std::string& out, std::string_view name, std::string_view suffix,
                  const std::vector<ClientMetric::Label>& labels, double value,
                  std::string_view extra_name = "", std::string_view extra_value = "") {
  out.append(name).append(suffix);
  char separator = '{';
  auto append = [&](std::string_view label, std::string_view text) {
    out.push_back(separator);
    out.append(label).append("=\"");
    AppendEscaped(out, text);
    out.push_back('"');
    separator = ',';
  };
  for (const ClientMetric::Label& label : labels) append(label.name, label.value);
  if (!extra_name.empty()) append(extra_name, extra_value);
  if (separator == ',') out.push_back('}');
  out.append(" ").append(Number(value)).append("\n");
}

void AppendHistogram(std::string& out, std::string_view name, const ClientMetric& metric) {
  const ClientMetric::Histogram& histogram = metric.histogram;
  for (const ClientMetric::Bucket& bucket : histogram.bucket) {
    AppendSample(out, name, "_bucket", metric.label, static_cast<double>(bucket.cumulative_count),
                 "le", Number(bucket.upper_bound));
  }
  AppendSample(out, name, "_sum", metric.label, histogram.sample_sum);
  AppendSample(out, name, "_count", metric.label, static_cast<double>(histogram.sample_count));
}

std::string_view TypeName(MetricType type) {
  switch (type) {
    case MetricType::Counter:
      return "counter";
    case MetricType::Gauge:
      return "gauge";
    case MetricType::Histogram:
      return "histogram";
    default:
      return "untyped";
  }
}

}  // namespace

std::string MetricsText(const std::vector<prometheus::MetricFamily>& families) {
  std::string out;
  for (const prometheus::MetricFamily& family : families) {
    out.append("# HELP ").append(family.name).append(" ").append(family.help).append("\n");
    out.append("# TYPE ")
        .append(family.name)
        .append(" ")
        .append(TypeName(family.type))
        .append("\n");
    for (const ClientMetric& metric : family.metric) {
      if (family.type == MetricType::Histogram) {
        AppendHistogram(out, family.name, metric);
      } else {
        const bool counts = family.type == MetricType::Counter;
        AppendSample(out, family.name, "", metric.label,
                     counts ? metric.counter.value : metric.gauge.value);
      }
    }
  }
  return out;
}

}  // namespace quire
