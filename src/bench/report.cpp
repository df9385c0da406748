#include "bench/report.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "bench/html_text.h"
#include "bench/objective.h"
#include "bench/report_plots.h"
#include "bench/report_style.h"
#include "bench/report_tables.h"
#include "bench/run_table.h"

namespace quire {
namespace {

// Latency that the client itself may have added without anyone noticing.
constexpr double kLateMs = 10;
constexpr std::size_t kOwnLegend = 4;  // runs that each plot names itself

// Builds one page from top to bottom: owns its text and the numbering of its plots.
class ReportPage {
 public:
  explicit ReportPage(const ReportInput& input) : title_(input.title), sweep_(input.sweep) {
    runs_.runs = input.runs;
    if (input.runs.empty() && sweep_ != nullptr && !sweep_->points.empty()) {
      // Of a sweep alone, the best rate is what the rest of the page looks at.
      const auto best = std::find_if(
          sweep_->points.begin(), sweep_->points.end(),
          [&](const SweepPoint& point) { return point.request_rate == sweep_->best_rate; });
      const SweepPoint& point = best != sweep_->points.end() ? *best : sweep_->points.front();
      runs_.runs = std::span(&point.run, 1);
      of_rate_ = fmt::format("Of the run at {}.", RateText(point.request_rate));
    }
    runs_.names = RunNames(runs_.runs);
  }

  std::string Render() {
    Head();
    Summary();
    Section("Errors", "What failed requests said, and how often.", ErrorTable(runs_));
    Sweep();
    const bool many = runs_.runs.size() > 1;
    Section(many ? "Comparison" : "Results", of_rate_, ResultsTable(runs_));
    Plots("Over time", of_rate_, TimePlots(runs_));
    Plots("Distributions", of_rate_, DistributionPlots(runs_));
    Plots("Load", of_rate_, LoadPlots(runs_));
    Plots("Throughput against latency", "", TradeoffPlots(runs_));
    Section("Host", "", HostTable(runs_));
    Section("How to repeat it", of_rate_, LoadTable(runs_) + CommandBlocks(runs_));
    out_ += "<footer>Made by Quire " QUIRE_VERSION
            ". Latencies count from the moment a request was due, not from when it was sent; "
            "percentiles interpolate linearly.</footer>\n</body>\n</html>\n";
    return std::move(out_);
  }

 private:
  void Head();
  void Summary();
  void Sweep();
  std::string Lead() const;
  std::string SweepLead() const;
  std::string SubjectLine() const;
  std::string DateLine() const;
  void Warnings();

  void Section(const std::string& title, const std::string& note, const std::string& html) {
    if (html.empty()) return;
    out_ += fmt::format("<section>\n<h2>{}</h2>\n", title);
    if (!note.empty()) out_ += fmt::format("<p>{}</p>\n", HtmlEscape(note));
    out_ += html + "</section>\n";
  }

  std::string Figures(const std::vector<Plot>& plots, bool with_legends = true) {
    std::string html = "<div class=\"plots\">\n";
    for (const Plot& plot : plots)
      html += RenderFigure(plot, fmt::format("plot{}", ++num_plots_), with_legends);
    return html + "</div>\n";
  }

  void Plots(const std::string& title, const std::string& note, const std::vector<Plot>& plots) {
    if (plots.empty()) return;
    // One legend for all where each plot's own would be longer than the plot.
    const bool shared = runs_.runs.size() > kOwnLegend;
    Section(title, note, (shared ? SharedLegend() : "") + Figures(plots, !shared));
  }

  std::string SharedLegend() const {
    std::vector<PlotSeries> series;
    for (std::size_t i = 0; i < runs_.names.size(); ++i)
      series.push_back({runs_.names[i], static_cast<int>(i), PlotForm::kLine, false, {{0, 0}}});
    return RenderLegend(series);
  }

  const std::string title_;
  const SweepResult* sweep_;
  NamedRuns runs_;
  std::string of_rate_;  // which of a sweep's runs the page looks at
  std::string out_;
  int num_plots_ = 0;
};

void ReportPage::Head() {
  const std::string title = HtmlEscape(title_);
  out_ += fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
      // The page needs nothing from anywhere, so it may have nothing: no network, no scripts.
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
      "style-src 'unsafe-inline'; img-src data:\"/>\n"
      "<link rel=\"icon\" href=\"data:,\"/>\n<title>{}</title>\n<style>{}</style>\n</head>\n"
      "<body>\n<header>\n<h1>{}</h1>\n",
      title, ReportCss(), title);
  for (const std::string& line : {SubjectLine(), DateLine()})
    if (!line.empty()) out_ += fmt::format("<p>{}</p>\n", HtmlEscape(line));
  out_ += "</header>\n";
}

// What all runs have in common, in the order in which people say it.
std::string ReportPage::SubjectLine() const {
  std::string line;
  const auto add = [&](std::string (*of)(const RunSubject&)) {
    std::string first;
    for (const RunSummary& run : runs_.runs) {
      const std::string text = of(run.subject);
      if (text.empty() || (!first.empty() && text != first)) return;
      first = text;
    }
    if (!first.empty()) line += (line.empty() ? "" : " · ") + Shortened(first, 120);
  };
  add([](const RunSubject& s) { return s.model; });
  add([](const RunSubject& s) { return s.dtype; });
  add([](const RunSubject& s) { return s.backend_name; });
  add([](const RunSubject& s) {
    return s.num_gpus > 1 ? fmt::format("{} × {}", s.num_gpus, s.gpu) : s.gpu;
  });
  return line;
}

std::string ReportPage::DateLine() const {
  std::vector<std::string> dates;
  for (const RunSummary& run : runs_.runs)
    if (!run.config.date.empty()) dates.push_back(Shortened(ReadableDate(run.config.date), 40));
  if (dates.empty()) return "";
  const auto [first, last] = std::minmax_element(dates.begin(), dates.end());
  return *first == *last ? *first : *first + " to " + *last;
}

std::string ReportPage::SweepLead() const {
  std::string goals;
  for (const SweepResult::Objective& objective : sweep_->objectives)
    goals += (goals.empty() ? "" : " and ") + ObjectiveName(objective);
  if (goals.empty()) goals = "the objective";
  if (!(sweep_->best_rate > 0))
    return fmt::format("None of the {} rates that were tried met {}.", sweep_->points.size(),
                       goals);
  std::string lead = fmt::format("{} requests/s is the highest rate that met {}",
                                 PlainNumber(sweep_->best_rate), goals);
  for (const SweepPoint& point : sweep_->points)
    if (point.request_rate == sweep_->best_rate && point.run.OutputPerS() > 0)
      return lead +
             fmt::format(", with {} output tokens/s.", ReadableNumber(point.run.OutputPerS()));
  return lead + ".";
}

std::string ReportPage::Lead() const {
  if (sweep_ != nullptr && !sweep_->points.empty()) return SweepLead();
  if (runs_.runs.empty()) return "Nothing was measured.";
  if (runs_.runs.size() == 1) {
    const RunSummary& run = runs_.runs[0];
    const std::string time =
        run.duration_s > 0 ? fmt::format(" in {} s", ReadableNumber(run.duration_s)) : "";
    return fmt::format("{} of {} requests succeeded{}.", GroupedNumber(run.completed, 0),
                       GroupedNumber(static_cast<double>(run.completed) + run.failed, 0), time);
  }
  std::size_t best = 0;
  const auto output = [&](std::size_t i) {
    const double value = runs_.runs[i].OutputPerS();
    return std::isfinite(value) ? value : 0;
  };
  for (std::size_t i = 1; i < runs_.runs.size(); ++i)
    if (output(i) > output(best)) best = i;
  // Against the first, which is what the others are compared with; the first against the next best.
  std::size_t other = best == 0 ? 1 : 0;
  for (std::size_t i = 1; best == 0 && i < runs_.runs.size(); ++i)
    if (output(i) > output(other)) other = i;
  if (!(output(other) > 0)) return fmt::format("{} runs.", runs_.runs.size());
  return fmt::format("{} gives the most output, {} tokens/s: {:.2f} times that of {}.",
                     Shortened(runs_.names[best], 80), ReadableNumber(output(best)),
                     output(best) / output(other), Shortened(runs_.names[other], 80));
}

void ReportPage::Warnings() {
  for (std::size_t i = 0; i < runs_.runs.size(); ++i) {
    const RunSummary& run = runs_.runs[i];
    const std::string of = runs_.runs.size() > 1 ? RunHead(runs_, i) + ": " : "";
    if (run.failed > 0)
      out_ += fmt::format(
          "<p class=\"warn\">{}{} of {} requests failed; the figures are of the others.</p>\n", of,
          GroupedNumber(run.failed, 0),
          GroupedNumber(static_cast<double>(run.completed) + run.failed, 0));
    const auto late = run.send_lag.percentiles.find(99);
    if (late != run.send_lag.percentiles.end() && late->second > kLateMs)
      out_ += fmt::format(
          "<p class=\"warn\">{}The client sent 1 % of its requests {} ms late or later: it may "
          "have "
          "been the bottleneck.</p>\n",
          of, ReadableNumber(late->second));
  }
}

void ReportPage::Summary() {
  out_ += fmt::format("<p class=\"lead\">{}</p>\n", HtmlEscape(Lead()));
  if (!runs_.runs.empty()) out_ += HeadlineTiles(runs_);
  Warnings();
}

void ReportPage::Sweep() {
  if (sweep_ == nullptr || sweep_->points.empty()) return;
  const std::vector<Plot> plots = SweepPlots(*sweep_);
  Section("Rate sweep", "Runs of the same load at several request rates.",
          SweepRows(*sweep_) + (plots.empty() ? "" : Figures(plots)));
}

}  // namespace

std::string RenderReport(const ReportInput& input) { return ReportPage(input).Render(); }

}  // namespace quire
