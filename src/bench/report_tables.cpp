#include "bench/report_tables.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <utility>

#include "bench/html_text.h"
#include "bench/objective.h"
#include "bench/run_table.h"

namespace quire {
namespace {

constexpr std::size_t kMaxErrors = 20;  // kinds, of each run
constexpr std::size_t kShortCell = 12;  // bytes that are not broken into lines
constexpr std::size_t kMaxText = 2000;  // characters of one cell

// Something that heads a report: a figure and what goes with it.
struct ReportFigure {
  const char* name;
  const char* unit;
  bool higher_is_better;
  std::function<double(const RunSummary&)> of;  // NaN or 0: unknown
  // The words below it, for a single run.
  std::function<std::string(const RunSummary&)> detail;
};

double KnownOrZero(double value) { return std::isfinite(value) && value > 0 ? value : 0; }

std::string P99Text(const RunSummary& run, const std::string& metric) {
  const double p99 = PercentileOf(run, metric, 99);
  return std::isfinite(p99) ? fmt::format("P99 {} ms", ReadableNumber(p99)) : "";
}

std::function<double(const RunSummary&)> PercentileGetter(const char* metric, double percent) {
  return [metric, percent](const RunSummary& run) { return PercentileOf(run, metric, percent); };
}

std::vector<ReportFigure> Figures(bool many) {
  std::vector<ReportFigure> figures = {
      {"Output throughput", "tokens/s", true, &RunSummary::OutputPerS,
       [](const RunSummary& run) {
         return fmt::format("{} with the input", ReadableNumber(run.TotalPerS()));
       }},
      {"Requests", "req/s", true, &RunSummary::RequestsPerS,
       [](const RunSummary& run) {
         return run.peak_concurrent > 0
                    ? fmt::format("at most {} in flight", GroupedNumber(run.peak_concurrent, 0))
                    : "";
       }},
      {"Median TTFT", "ms", false, PercentileGetter("ttft", 50),
       [](const RunSummary& run) { return P99Text(run, "ttft"); }},
      {"Median TPOT", "ms", false, PercentileGetter("tpot", 50),
       [](const RunSummary& run) { return P99Text(run, "tpot"); }},
  };
  if (many) {
    // Tails have tiles of their own where runs stand side by side.
    figures.erase(figures.begin() + 1);
    figures.insert(figures.begin() + 2,
                   {"P99 TTFT", "ms", false, PercentileGetter("ttft", 99), {}});
    figures.push_back({"P99 TPOT", "ms", false, PercentileGetter("tpot", 99), {}});
  } else {
    figures.push_back({"Median eval rate", "tokens/s", true, &RunSummary::MedianEvalRate,
                       [](const RunSummary& run) {
                         return run.P99EvalRate() > 0
                                    ? fmt::format("P99 {}", ReadableNumber(run.P99EvalRate()))
                                    : "";
                       }});
  }
  figures.push_back(
      {"Goodput", "req/s", true,
       [](const RunSummary& run) { return run.config.goodput_ms.empty() ? 0 : run.GoodPerS(); },
       [](const RunSummary& run) {
         return fmt::format("{} of {} within their bounds", run.good, run.completed);
       }});
  figures.push_back({"Energy per output token", "J", false, &RunSummary::JoulesPerOutputToken,
                     [](const RunSummary& run) {
                       return run.energy && run.energy->idle_watts > 0
                                  ? fmt::format("{} W idle", ReadableNumber(run.energy->idle_watts))
                                  : "";
                     }});
  figures.push_back({"Cost per million output tokens", "", false,
                     &RunSummary::CostPerMillionOutputTokens, [](const RunSummary& run) {
                       return fmt::format("{} with the input",
                                          ReadableNumber(run.CostPerMillionTokens()));
                     }});
  return figures;
}

std::string SingleTile(const ReportFigure& figure, const RunSummary& run) {
  const double value = KnownOrZero(figure.of(run));
  if (value == 0) return "";
  const std::string detail = figure.detail ? figure.detail(run) : "";
  return fmt::format("<div class=\"tile\"><h3>{}</h3><b>{}<small>{}</small></b>{}</div>\n",
                     figure.name, ReadableNumber(value), figure.unit,
                     detail.empty() ? "" : fmt::format("<p>{}</p>", HtmlEscape(detail)));
}

// The runs' values below each other as bars from zero, the best in bold.
std::string BarTile(const ReportFigure& figure, const NamedRuns& runs) {
  double highest = 0, lowest = 0;
  for (const RunSummary& run : runs.runs) {
    const double value = KnownOrZero(figure.of(run));
    if (value == 0) continue;
    highest = std::max(highest, value);
    lowest = lowest == 0 ? value : std::min(lowest, value);
  }
  if (highest == 0) return "";
  std::string bars;
  for (std::size_t i = 0; i < runs.runs.size(); ++i) {
    const double value = KnownOrZero(figure.of(runs.runs[i]));
    const bool best = value == (figure.higher_is_better ? highest : lowest);
    bars += fmt::format(
        "<div class=\"{}\">{}<i style=\"width:{:.1f}%\"></i></div><div class=\"v{}\">{}</div>",
        PlotColorClass(static_cast<int>(i)), HtmlEscape(Shortened(runs.names[i], 60)),
        100 * value / highest, best ? " best" : "", value == 0 ? "–" : ReadableNumber(value));
  }
  return fmt::format(
      "<div class=\"tile\"><h3>{}{}{}</h3><p>{} is better</p><div class=\"bars\">{}</div></div>\n",
      figure.name, *figure.unit == 0 ? "" : ", ", figure.unit,
      figure.higher_is_better ? "Higher" : "Lower", bars);
}

std::string TableHead(const NamedRuns& runs, const std::string& last) {
  std::string head = "<thead><tr><th></th>";
  for (std::size_t i = 0; i < runs.runs.size(); ++i)
    head += fmt::format("<th scope=\"col\">{}</th>", RunHead(runs, i));
  if (!last.empty()) head += fmt::format("<th scope=\"col\">{}</th>", last);
  return head + "</tr></thead>";
}

std::string Cell(const std::string& value) {
  return value.empty() ? "–" : HtmlEscape(Shortened(value, kMaxText));
}

// Facts in words: a column a run, one cell over all of them where they say the same.
std::string FactTable(const NamedRuns& runs, const std::vector<TableRow>& rows) {
  std::string body;
  bool all_same = true;
  for (const TableRow& row : rows) {
    const bool known = std::any_of(row.values.begin(), row.values.end(),
                                   [](const std::string& value) { return !value.empty(); });
    if (!known) continue;
    const bool same = std::all_of(row.values.begin(), row.values.end(),
                                  [&](const std::string& v) { return v == row.values[0]; });
    all_same = all_same && same;
    body += fmt::format("<tr><th scope=\"row\">{}</th>", Cell(row.name));
    if (same) {
      body += fmt::format("<td colspan=\"{}\">{}</td>", row.values.size(), Cell(row.values[0]));
    } else {
      for (const std::string& value : row.values) body += fmt::format("<td>{}</td>", Cell(value));
    }
    body += "</tr>\n";
  }
  if (body.empty()) return "";
  return fmt::format(
      "<div class=\"scroll\"><table class=\"text\">{}<tbody>{}</tbody></table></div>",
      all_same ? "" : TableHead(runs, ""), body);
}

std::string GoodputText(const RunConfig& config) {
  std::string text;
  for (const auto& [metric, ms] : config.goodput_ms)
    text += fmt::format("{}{} {} ms", text.empty() ? "" : ", ", metric, PlainNumber(ms));
  return text;
}

std::string LagText(const Distribution& lag) {
  if (lag.count == 0) return "";
  const auto p99 = lag.percentiles.find(99);
  std::string text = fmt::format("median {} ms", ReadableNumber(lag.median));
  if (p99 != lag.percentiles.end()) text += fmt::format(", P99 {} ms", ReadableNumber(p99->second));
  return text;
}

}  // namespace

std::string RunHead(const NamedRuns& runs, std::size_t index) {
  const std::string name = HtmlEscape(Shortened(runs.names[index], 120));
  if (runs.runs.size() < 2) return name;
  return fmt::format("<span class=\"swatch {}\"></span>{}", PlotColorClass(static_cast<int>(index)),
                     name);
}

std::string ReadableDate(const std::string& date) {
  std::string digits = date;
  if (digits.size() != 15 || digits[8] != '-') return date;
  digits.erase(8, 1);
  if (!std::all_of(digits.begin(), digits.end(), [](char c) { return c >= '0' && c <= '9'; }))
    return date;
  return fmt::format("{}-{}-{} {}:{}", digits.substr(0, 4), digits.substr(4, 2),
                     digits.substr(6, 2), digits.substr(8, 2), digits.substr(10, 2));
}

std::string HeadlineTiles(const NamedRuns& runs) {
  const bool many = runs.runs.size() > 1;
  std::string tiles;
  int count = 0;
  for (const ReportFigure& figure : Figures(many)) {
    const std::string tile = many ? BarTile(figure, runs) : SingleTile(figure, runs.runs[0]);
    if (tile.empty() || (count == 6 && runs.runs.size() > 4)) continue;
    tiles += tile;
    ++count;
  }
  if (tiles.empty()) return "";
  // As many columns as leave the least of the last row empty.
  const int columns = count <= 4 || count > 6 ? 4 : count == 5 && !many ? 5 : 3;
  return fmt::format("<div class=\"tiles\" style=\"--n:{}\">\n{}</div>\n", columns, tiles);
}

std::string ResultsTable(const NamedRuns& runs) {
  const std::vector<TableRow> rows = ComparisonRows(runs.runs);
  if (rows.empty()) return "";
  const bool many = runs.runs.size() > 1;
  const auto part = [&](std::size_t begin, std::size_t end) {
    std::string html = "<table>" + (many ? TableHead(runs, "Last ÷ first") : "") + "<tbody>";
    for (std::size_t i = begin; i < end; ++i) {
      html += fmt::format("<tr><th scope=\"row\">{}</th>", Cell(rows[i].name));
      for (const std::string& value : rows[i].values)
        html += fmt::format("<td{}>{}</td>", value.size() <= kShortCell ? " class=\"n\"" : "",
                            Cell(value));
      if (many) html += fmt::format("<td class=\"n\">{}</td>", HtmlEscape(rows[i].ratio));
      html += "</tr>\n";
    }
    return html + "</tbody></table>";
  };
  if (many) return "<div class=\"scroll\">" + part(0, rows.size()) + "</div>\n";
  // One column of figures would leave most of the page empty.
  const std::size_t half = (rows.size() + 1) / 2;
  return "<div class=\"pair\">" + part(0, half) + part(half, rows.size()) + "</div>\n";
}

std::string SweepRows(const SweepResult& sweep) {
  if (sweep.points.empty()) return "";
  std::string html =
      "<div class=\"scroll\"><table class=\"own\"><thead><tr><th scope=\"col\">Offered, req/s</th>"
      "<th scope=\"col\">Answered, req/s</th><th scope=\"col\">Output, tokens/s</th>";
  for (const char* metric : {"TTFT", "TPOT"})
    html += fmt::format("<th scope=\"col\">{} P50, ms</th><th scope=\"col\">{} P99, ms</th>",
                        metric, metric);
  html += "<th scope=\"col\">Failed</th><th scope=\"col\">Objective</th></tr></thead><tbody>\n";
  for (const SweepPoint& point : sweep.points) {
    const RunSummary& run = point.run;
    const bool best = sweep.best_rate > 0 && point.request_rate == sweep.best_rate;
    html += fmt::format(
        "<tr{}><th scope=\"row\">{}</th><td>{}</td><td>{}</td>", best ? " class=\"best\"" : "",
        std::isinf(point.request_rate) ? "all at once" : PlainNumber(point.request_rate),
        ReadableNumber(run.RequestsPerS()), ReadableNumber(run.OutputPerS()));
    for (const char* metric : {"ttft", "tpot"})
      for (const double percent : {50.0, 99.0})
        html += fmt::format("<td>{}</td>", ReadableNumber(PercentileOf(run, metric, percent)));
    html += fmt::format("<td>{}</td><td class=\"{}\">{}</td></tr>\n", GroupedNumber(run.failed, 0),
                        point.met ? "yes" : "no", point.met ? "met" : "missed");
  }
  return html + "</tbody></table></div>\n";
}

std::string ErrorTable(const NamedRuns& runs) {
  std::string body;
  for (std::size_t i = 0; i < runs.runs.size(); ++i) {
    std::vector<std::pair<std::string, int>> errors(runs.runs[i].errors.begin(),
                                                    runs.runs[i].errors.end());
    std::stable_sort(errors.begin(), errors.end(),
                     [](const auto& a, const auto& b) { return a.second > b.second; });
    const std::string run =
        runs.runs.size() > 1 ? "<td class=\"t\">" + RunHead(runs, i) + "</td>" : "";
    for (std::size_t k = 0; k < errors.size() && k < kMaxErrors; ++k)
      body += fmt::format("<tr><th scope=\"row\">{} ×</th>{}<td class=\"t\">{}</td></tr>\n",
                          GroupedNumber(errors[k].second, 0), run,
                          HtmlEscape(Shortened(errors[k].first, 500)));
    if (errors.size() > kMaxErrors)
      body += fmt::format("<tr><th></th>{}<td class=\"t\">and {} other kinds</td></tr>\n", run,
                          errors.size() - kMaxErrors);
  }
  if (body.empty()) return "";
  return "<div class=\"scroll\"><table class=\"errors\"><tbody>" + body +
         "</tbody></table></div>\n";
}

std::string HostTable(const NamedRuns& runs) {
  std::vector<TableRow> rows;
  for (std::size_t i = 0; i < runs.runs.size(); ++i)
    for (const auto& fact : runs.runs[i].host) {
      auto row = std::find_if(rows.begin(), rows.end(),
                              [&](const TableRow& r) { return r.name == fact.first; });
      if (row == rows.end()) {
        rows.push_back({fact.first, std::vector<std::string>(runs.runs.size()), ""});
        row = std::prev(rows.end());
      }
      // A name may come more than once: one line for each link, say.
      std::string& text = row->values[i];
      text += (text.empty() ? "" : "\n") + fact.second;
    }
  return FactTable(runs, rows);
}

std::string LoadTable(const NamedRuns& runs) {
  std::vector<TableRow> rows;
  const auto add = [&](const char* name, const std::function<std::string(const RunSummary&)>& of) {
    TableRow row{name, {}, ""};
    for (const RunSummary& run : runs.runs) row.values.push_back(of(run));
    rows.push_back(std::move(row));
  };
  add("Date", [](const RunSummary& run) { return ReadableDate(run.config.date); });
  add("Server", [](const RunSummary& run) { return run.config.base_url; });
  add("API", [](const RunSummary& run) { return run.config.endpoint_type; });
  add("Dataset", [](const RunSummary& run) { return run.config.dataset; });
  add("Prompts", [](const RunSummary& run) { return GroupedNumber(run.config.num_prompts, 0); });
  add("Request rate", [](const RunSummary& run) {
    const double rate = run.config.request_rate;
    return rate > 0 ? RateText(rate) : "";
  });
  add("Burstiness", [](const RunSummary& run) {
    const double shape = run.config.burstiness;
    if (std::isinf(run.config.request_rate)) return std::string();
    return shape == 1 ? "1 (Poisson)" : PlainNumber(shape);
  });
  add("Max concurrency", [](const RunSummary& run) {
    const std::optional<int> limit = run.config.max_concurrency;
    return limit ? GroupedNumber(*limit, 0) : "";
  });
  add("Seed", [](const RunSummary& run) { return fmt::format("{}", run.config.seed); });
  add("Ignores end of text",
      [](const RunSummary& run) { return std::string(run.config.ignore_eos ? "yes" : "no"); });
  add("Tokenizer", [](const RunSummary& run) { return run.subject.tokenizer; });
  add("Goodput bounds", [](const RunSummary& run) { return GoodputText(run.config); });
  add("Client was late by", [](const RunSummary& run) { return LagText(run.send_lag); });
  add("Waited for a slot", [](const RunSummary& run) {
    return run.config.max_concurrency ? LagText(run.slot_wait) : "";
  });
  return FactTable(runs, rows);
}

std::string CommandBlocks(const NamedRuns& runs) {
  std::string html;
  for (std::size_t i = 0; i < runs.runs.size(); ++i) {
    const std::string& command = runs.runs[i].config.command;
    if (command.empty()) continue;
    if (runs.runs.size() > 1) html += fmt::format("<h3>{}</h3>", RunHead(runs, i));
    html += fmt::format("<pre>{}</pre>\n", HtmlEscape(command));
  }
  return html;
}

}  // namespace quire
