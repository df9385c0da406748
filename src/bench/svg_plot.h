// RenderSvg: a small plotting library: lines, steps, dots, marked points and reference lines on
// linear or logarithmic axes, as inline SVG whose colours are the page's CSS (report_style.h), so
// that one picture serves light pages, dark ones and paper.
#pragma once

#include <string>
#include <vector>

#include "bench/plot_scale.h"

namespace quire {

enum class PlotForm { kLine, kStep, kDots };

// Points of one colour. A line is interrupted where a point is not plottable.
struct PlotSeries {
  std::string name;  // in the legend; empty: not in it
  int color = 0;     // of the palette, which begins again after kPlotColors, with dashes
  PlotForm form = PlotForm::kLine;
  bool dashed = false;
  std::vector<PlotXy> points;  // by x, except for lines that turn back
};

// One point with a word beside it.
struct PlotMark {
  enum class Look { kSolid, kHollow, kRing };
  PlotXy at;
  std::string label;  // empty, or left out where there is no room for it
  std::string hint;   // what a mouse over it shows
  int color = 0;
  Look look = Look::kSolid;
};

// A line across the plot: a bound, a chosen value.
struct PlotRule {
  bool vertical = false;
  double at = 0;
  std::string label;
};

struct Plot {
  std::string title;
  std::string note;  // a sentence under the title
  PlotAxis x, y;
  std::vector<PlotSeries> series;
  std::vector<PlotMark> marks;
  std::vector<PlotRule> rules;
};

constexpr int kPlotColors = 6;
// "c0" … "c5": the CSS class that sets --c.
std::string PlotColorClass(int color);

// Whether there is anything to draw.
bool HasData(const Plot& plot);
// What the picture shows in words, for those who cannot see it.
std::string DescribePlot(const Plot& plot);
// <svg role="img"> with title and description; `id` is unique on the page.
std::string RenderSvg(const Plot& plot, const std::string& id);
// <figure> with the title, the note, the legend and the SVG.
std::string RenderFigure(const Plot& plot, const std::string& id, bool with_legend = true);
// <ul> of the names of series that have data; empty where there are fewer than two.
std::string RenderLegend(const std::vector<PlotSeries>& series);

}  // namespace quire
