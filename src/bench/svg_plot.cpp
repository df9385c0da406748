#include "bench/svg_plot.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "base/utf8.h"
#include "bench/html_text.h"

namespace quire {
namespace {

// The picture's own units; the page scales it to its column.
constexpr double kWidth = 500, kHeight = 334;
constexpr double kTop = 27, kBottom = 45, kRight = 14;
constexpr double kFont = 13, kLetter = 7.4;  // height, and the mean width of a letter or digit
constexpr double kNear = 6;  // places on a line that stand for it are no farther apart
constexpr std::size_t kMaxLinePoints = 700;
constexpr std::size_t kMaxDots = 1500;
constexpr std::size_t kMaxMarks = 200;
constexpr std::size_t kMaxRules = 12;

double TextWidth(const std::string& text) {
  double chars = 0;
  for (std::string_view rest = text; !rest.empty(); rest.remove_prefix(DecodeUtf8(rest).length))
    ++chars;
  return chars * kLetter;
}

struct PlotBox {
  double x0, y0, x1, y1;
  bool Overlaps(const PlotBox& o) const { return x0 < o.x1 && o.x0 < x1 && y0 < o.y1 && o.y0 < y1; }
};

// A coordinate with at most one decimal.
std::string Coord(double value) {
  std::string text = fmt::format("{:.1f}", value);
  if (text.ends_with(".0")) text.resize(text.size() - 2);
  return text == "-0" ? "0" : text;
}

bool IsPowerOfTen(double value) {
  const double power = std::log10(value);
  return std::abs(power - std::round(power)) < 1e-6;
}

bool IsPoint(const PlotXy& p) { return IsPlottable(p.first) && IsPlottable(p.second); }

std::string TextAt(double x, double y, std::string_view css, const std::string& text) {
  return fmt::format("<text x=\"{}\" y=\"{}\" class=\"{}\">{}</text>", Coord(x), Coord(y), css,
                     HtmlEscape(text));
}

// Draws one plot: owns its scales and what room its labels have taken.
class PlotPainter {
 public:
  explicit PlotPainter(const Plot& plot) : plot_(plot) { FitScales(); }

  std::string Paint() {
    Axes();
    // Dots lie under lines, both under marks and labels.
    for (const PlotSeries& s : plot_.series)
      if (s.form == PlotForm::kDots) Dots(s);
    for (const PlotSeries& s : plot_.series)
      if (s.form != PlotForm::kDots) Line(s);
    const std::size_t num_rules = std::min(plot_.rules.size(), kMaxRules);
    for (std::size_t i = 0; i < num_rules; ++i) Rule(plot_.rules[i]);
    Marks();
    return std::move(out_);
  }

 private:
  double X(double value) const { return left_ + x_.At(value) * (kWidth - kRight - left_); }
  double Y(double value) const {
    return kHeight - kBottom - y_.At(value) * (kHeight - kBottom - kTop);
  }
  PlotXy At(const PlotXy& p) const { return {X(p.first), Y(p.second)}; }

  void FitScales();
  bool TicksCollide() const;
  bool Collide(const PlotTick& a, const PlotTick& b) const;
  void KeepLabelsThatFit();
  void Axes();
  void Line(const PlotSeries& series);
  void Dots(const PlotSeries& series);
  void Rule(const PlotRule& rule);
  void Marks();
  void MarkLabel(const PlotMark& mark);
  double Crowding(const PlotBox& box) const;

  const Plot& plot_;
  PlotScale x_, y_;
  double left_ = 0;
  std::vector<PlotBox> taken_;   // by labels and marks
  std::vector<PlotXy> on_line_;  // places that lines run through
  std::string out_;
};

void PlotPainter::FitScales() {
  std::vector<double> xs, ys;
  const auto add = [&](const PlotXy& p) {
    if (!IsPoint(p)) return;
    xs.push_back(p.first);
    ys.push_back(p.second);
  };
  for (const PlotSeries& s : plot_.series)
    for (const PlotXy& p : s.points) add(p);
  for (const PlotMark& m : plot_.marks) add(m.at);
  for (const PlotRule& r : plot_.rules) (r.vertical ? xs : ys).push_back(r.at);

  y_ = FitScale(plot_.y, ys, plot_.y.log ? 10 : 6);
  double widest = 0;
  for (const PlotTick& tick : y_.ticks) widest = std::max(widest, TextWidth(tick.label));
  left_ = std::clamp(widest + 12, 30.0, 120.0);
  for (int max_ticks = plot_.x.log ? 12 : 9; max_ticks >= 3; --max_ticks) {
    x_ = FitScale(plot_.x, xs, max_ticks);
    if (plot_.x.log) return KeepLabelsThatFit();
    if (!TicksCollide()) return;
  }
}

bool PlotPainter::TicksCollide() const {
  for (std::size_t i = 1; i < x_.ticks.size(); ++i)
    if (Collide(x_.ticks[i - 1], x_.ticks[i])) return true;
  return false;
}

bool PlotPainter::Collide(const PlotTick& a, const PlotTick& b) const {
  const double room = (TextWidth(a.label) + TextWidth(b.label)) / 2 + 14;
  return std::abs(X(a.value) - X(b.value)) < room;
}

// On a log axis the lines stay: powers of ten are named first, then what fits between them.
void PlotPainter::KeepLabelsThatFit() {
  std::vector<PlotTick*> order;
  for (PlotTick& tick : x_.ticks) order.push_back(&tick);
  std::stable_sort(order.begin(), order.end(), [](const PlotTick* a, const PlotTick* b) {
    return IsPowerOfTen(a->value) > IsPowerOfTen(b->value);
  });
  std::vector<const PlotTick*> kept;
  for (PlotTick* tick : order) {
    const bool fits = std::none_of(kept.begin(), kept.end(),
                                   [&](const PlotTick* other) { return Collide(*tick, *other); });
    if (fits) {
      kept.push_back(tick);
    } else {
      tick->label.clear();
    }
  }
}

void PlotPainter::Axes() {
  const double bottom = kHeight - kBottom, right = kWidth - kRight;
  std::string grid;
  for (const PlotTick& tick : y_.ticks)
    grid += fmt::format("M{} {}H{}", Coord(left_), Coord(Y(tick.value)), Coord(right));
  for (const PlotTick& tick : x_.ticks)
    if (plot_.x.log) grid += fmt::format("M{} {}V{}", Coord(X(tick.value)), kTop, Coord(bottom));
  out_ += fmt::format("<path class=\"grid\" d=\"{}\"/>", grid);
  std::string axis = fmt::format("M{} {}H{}", Coord(left_), Coord(bottom), Coord(right));
  for (const PlotTick& tick : x_.ticks)
    axis += fmt::format("M{} {}v5", Coord(X(tick.value)), Coord(bottom));
  out_ += fmt::format("<path class=\"axis\" d=\"{}\"/>", axis);
  for (const PlotTick& tick : y_.ticks)
    out_ += TextAt(left_ - 7, Y(tick.value) + 4.5, "e", tick.label);
  for (const PlotTick& tick : x_.ticks) {
    if (tick.label.empty()) continue;
    const double half = TextWidth(tick.label) / 2;
    const double x = std::min(X(tick.value), kWidth - half);
    out_ += TextAt(x, bottom + 19, "m", tick.label);
  }
  out_ += TextAt(0, 14, "name", Shortened(plot_.y.label, 60));
  out_ += TextAt(right, kHeight - 5, "name e", Shortened(plot_.x.label, 60));
}

void PlotPainter::Line(const PlotSeries& series) {
  std::string path;
  bool drawing = false;
  PlotXy last;
  const std::vector<PlotXy> points = ThinLine(series.points, kMaxLinePoints);
  for (std::size_t i = 0; i < points.size(); ++i) {
    if (!IsPoint(points[i])) {
      drawing = false;
      continue;
    }
    const PlotXy p = At(points[i]);
    if (!drawing) {
      // A point with no neighbours is a dot: the round cap of a line without length.
      const bool alone = i + 1 == points.size() || !IsPoint(points[i + 1]);
      path += fmt::format("M{} {}{}", Coord(p.first), Coord(p.second), alone ? "h0" : "");
    } else if (series.form == PlotForm::kStep) {
      path += fmt::format("H{}V{}", Coord(p.first), Coord(p.second));
    } else {
      path += fmt::format("L{} {}", Coord(p.first), Coord(p.second));
      const double gap = std::hypot(p.first - last.first, p.second - last.second);
      for (double at = kNear; at < gap; at += kNear)
        on_line_.emplace_back(last.first + (p.first - last.first) * at / gap,
                              last.second + (p.second - last.second) * at / gap);
    }
    on_line_.push_back(p);
    last = p;
    drawing = true;
  }
  if (path.empty()) return;
  const bool dashed = series.dashed || (series.color / kPlotColors) % 2 != 0;
  out_ += fmt::format("<path class=\"line{} {}\" d=\"{}\"/>", dashed ? " dash" : "",
                      PlotColorClass(series.color), path);
}

void PlotPainter::Dots(const PlotSeries& series) {
  std::set<std::pair<int, int>> places;  // one dot for each half unit is all that can be seen
  std::vector<PlotXy> dots;
  for (const PlotXy& point : series.points) {
    if (!IsPoint(point)) continue;
    const PlotXy p = At(point);
    const auto rounded = [](double v) { return static_cast<int>(std::lround(v * 2)); };
    if (places.emplace(rounded(p.first), rounded(p.second)).second) dots.push_back(p);
  }
  if (dots.empty()) return;
  std::string path;
  const std::size_t num_dots = std::min(dots.size(), kMaxDots);
  for (std::size_t i = 0; i < num_dots; ++i) {
    const PlotXy& p = dots[i * dots.size() / num_dots];
    path += fmt::format("M{} {}h0", Coord(p.first), Coord(p.second));
  }
  out_ += fmt::format("<path class=\"dots {}\" d=\"{}\"/>", PlotColorClass(series.color), path);
}

void PlotPainter::Rule(const PlotRule& rule) {
  if (!IsPlottable(rule.at)) return;
  const double bottom = kHeight - kBottom, right = kWidth - kRight;
  const std::string label = Shortened(rule.label, 40);
  const double width = TextWidth(label);
  if (rule.vertical) {
    const double x = X(rule.at);
    out_ += fmt::format("<path class=\"rule\" d=\"M{} {}V{}\"/>", Coord(x), kTop, Coord(bottom));
    // Beside the line, as far up as there is room.
    double best_cost = std::numeric_limits<double>::infinity();
    PlotBox best{};
    for (int i = 0; i < 24; ++i) {
      const double begin = i % 2 == 0 ? x + 6 : x - 6 - width;
      const int line = i / 2;
      const double top = kTop + 9.0 * line;
      const PlotBox box{begin, top, begin + width, top + kFont + 3};
      const double cost = Crowding(box) + 0.3 * i;
      if (cost < best_cost) {
        best_cost = cost;
        best = box;
      }
    }
    taken_.push_back(best);
    const bool to_left = best.x0 < x;
    out_ += TextAt(to_left ? x - 6 : x + 6, best.y1 - 5, to_left ? "tag e" : "tag", label);
    return;
  }
  const double y = Y(rule.at);
  out_ +=
      fmt::format("<path class=\"rule\" d=\"M{} {}H{}\"/>", Coord(left_), Coord(y), Coord(right));
  // Above the line, left or right, whichever is freer.
  const double base = y - 6 < kTop + kFont ? y + kFont + 3 : y - 6;
  const PlotBox at_left{left_ + 6, base - kFont, left_ + 6 + width, base + 3};
  const PlotBox at_right{right - 4 - width, base - kFont, right - 4, base + 3};
  const bool to_left = Crowding(at_left) <= Crowding(at_right);
  taken_.push_back(to_left ? at_left : at_right);
  out_ += TextAt(to_left ? left_ + 6 : right - 4, base, to_left ? "tag" : "tag e", label);
}

// How badly a label would sit there: 100 for each thing that it hides, 1 for a line below it.
double PlotPainter::Crowding(const PlotBox& box) const {
  double sum = 0;
  for (const PlotBox& other : taken_) sum += box.Overlaps(other) ? 100 : 0;
  for (const PlotXy& p : on_line_)
    sum += p.first > box.x0 && p.first < box.x1 && p.second > box.y0 && p.second < box.y1 ? 1 : 0;
  if (box.x0 < left_ || box.x1 > kWidth || box.y0 < 0 || box.y1 > kHeight - kBottom) sum += 1000;
  return sum;
}

void PlotPainter::Marks() {
  std::vector<const PlotMark*> marks;
  for (const PlotMark& m : plot_.marks)
    if (IsPoint(m.at) && marks.size() < kMaxMarks) marks.push_back(&m);
  for (const PlotMark* m : marks) {
    const PlotXy p = At(m->at);
    const double r = m->look == PlotMark::Look::kRing ? 8 : 5;
    taken_.push_back({p.first - r, p.second - r, p.first + r, p.second + r});
    const std::string hint =
        m->hint.empty() ? "" : fmt::format("<title>{}</title>", HtmlEscape(m->hint));
    if (m->look == PlotMark::Look::kRing)
      out_ += fmt::format("<circle class=\"ring {}\" cx=\"{}\" cy=\"{}\" r=\"8\"/>",
                          PlotColorClass(m->color), Coord(p.first), Coord(p.second));
    out_ += fmt::format("<circle class=\"{} {}\" cx=\"{}\" cy=\"{}\" r=\"4\">{}</circle>",
                        m->look == PlotMark::Look::kHollow ? "hollow" : "solid",
                        PlotColorClass(m->color), Coord(p.first), Coord(p.second), hint);
  }
  // The one that matters most chooses its place first.
  std::stable_partition(marks.begin(), marks.end(),
                        [](const PlotMark* m) { return m->look == PlotMark::Look::kRing; });
  for (const PlotMark* m : marks) MarkLabel(*m);
}

void PlotPainter::MarkLabel(const PlotMark& mark) {
  if (mark.label.empty()) return;
  const std::string label = Shortened(mark.label, 32);
  const PlotXy p = At(mark.at);
  const bool ring = mark.look == PlotMark::Look::kRing;
  const double width = TextWidth(label) * (ring ? 1.08 : 1), gap = ring ? 11 : 8;
  struct Place {
    double x, baseline;
    PlotBox box;
  };
  Place best{};
  double best_cost = 100;
  const double above = p.second - gap, below = p.second + gap + kFont - 3, middle = p.second + 4.5;
  for (const auto& [x, y] :
       {PlotXy{p.first + gap, middle}, PlotXy{p.first - gap - width, middle},
        PlotXy{p.first + gap - 3, below}, PlotXy{p.first - gap - width, above},
        PlotXy{p.first - width / 2, above}, PlotXy{p.first - width / 2, below},
        PlotXy{p.first + gap - 3, above}, PlotXy{p.first - gap - width, below}}) {
    const PlotBox box{x, y - kFont + 1, x + width, y + 3};
    const double cost = Crowding(box);
    if (cost < best_cost) {
      best_cost = cost;
      best = {x, y, box};
    }
  }
  if (best_cost >= 100) return;
  taken_.push_back(best.box);
  out_ += TextAt(best.x, best.baseline, ring ? "tag strong" : "tag", label);
}

// The entry of a legend, a list item.
std::string LegendEntry(const PlotSeries& series) {
  const bool dashed = series.dashed || (series.color / kPlotColors) % 2 != 0;
  const char* form = series.form == PlotForm::kDots ? "dot" : dashed ? "dash" : "solid";
  return fmt::format("<li class=\"{}\"><i class=\"{}\"></i>{}</li>", PlotColorClass(series.color),
                     form, HtmlEscape(Shortened(series.name, 60)));
}

}  // namespace

std::string PlotColorClass(int color) { return fmt::format("c{}", std::abs(color % kPlotColors)); }

bool HasData(const Plot& plot) {
  for (const PlotSeries& s : plot.series)
    if (std::any_of(s.points.begin(), s.points.end(), IsPoint)) return true;
  return std::any_of(plot.marks.begin(), plot.marks.end(),
                     [](const PlotMark& m) { return IsPoint(m.at); });
}

std::string DescribePlot(const Plot& plot) {
  std::string text =
      fmt::format("Across: {}{}. Up: {}{}.", plot.x.label, plot.x.log ? ", logarithmic" : "",
                  plot.y.label, plot.y.log ? ", logarithmic" : "");
  for (const PlotSeries& s : plot.series) {
    std::vector<PlotXy> points;
    std::copy_if(s.points.begin(), s.points.end(), std::back_inserter(points), IsPoint);
    if (points.empty()) continue;
    const auto [low, high] =
        std::minmax_element(points.begin(), points.end(),
                            [](const PlotXy& p, const PlotXy& q) { return p.second < q.second; });
    text +=
        fmt::format(" {}: {} points from {} to {}, the highest at {}.",
                    s.name.empty() ? "Data" : s.name, points.size(), ReadableNumber(low->second),
                    ReadableNumber(high->second), ReadableNumber(high->first));
  }
  for (const PlotMark& m : plot.marks)
    if (IsPoint(m.at) && !m.label.empty() && plot.marks.size() <= 40)
      text += fmt::format(" {}: {}, {}.", m.label, ReadableNumber(m.at.first),
                          ReadableNumber(m.at.second));
  for (const PlotRule& r : plot.rules)
    if (IsPlottable(r.at)) text += fmt::format(" Line: {}.", r.label);
  return text;
}

std::string RenderSvg(const Plot& plot, const std::string& id) {
  const std::string safe_id = HtmlEscape(id);
  return fmt::format(
      "<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-labelledby=\"{}-t {}-d\" "
      "xmlns=\"http://www.w3.org/2000/svg\"><title id=\"{}-t\">{}</title>"
      "<desc id=\"{}-d\">{}</desc>{}</svg>",
      kWidth, kHeight, safe_id, safe_id, safe_id, HtmlEscape(plot.title), safe_id,
      HtmlEscape(DescribePlot(plot)), PlotPainter(plot).Paint());
}

std::string RenderLegend(const std::vector<PlotSeries>& series) {
  std::string legend;
  std::size_t num_names = 0;
  for (const PlotSeries& s : series) {
    if (s.name.empty() || !std::any_of(s.points.begin(), s.points.end(), IsPoint)) continue;
    legend += LegendEntry(s);
    ++num_names;
  }
  return num_names > 1 ? fmt::format("<ul class=\"legend\">{}</ul>\n", legend) : "";
}

std::string RenderFigure(const Plot& plot, const std::string& id, bool with_legend) {
  std::string out = fmt::format("<figure><figcaption><h3>{}</h3>", HtmlEscape(plot.title));
  if (!plot.note.empty()) out += fmt::format("<p>{}</p>", HtmlEscape(plot.note));
  if (with_legend) out += RenderLegend(plot.series);
  return out + "</figcaption>" + RenderSvg(plot, id) + "</figure>\n";
}

}  // namespace quire
