#include "bench/svg_plot.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <limits>

namespace quire {
namespace {

const double kNan = std::nan("");
const double kInf = std::numeric_limits<double>::infinity();

std::size_t Count(const std::string& text, std::string_view what) {
  std::size_t count = 0;
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1))
    ++count;
  return count;
}

// The d of the first path of that class.
std::string PathOf(const std::string& svg, const std::string& css) {
  const std::size_t at = svg.find("<path class=\"" + css);
  if (at == std::string::npos) return "";
  const std::size_t begin = svg.find(" d=\"", at) + 4;
  return svg.substr(begin, svg.find('"', begin) - begin);
}

Plot LinePlot(std::vector<PlotXy> points, PlotForm form = PlotForm::kLine) {
  Plot plot;
  plot.title = "Title";
  plot.x.label = "Time, s";
  plot.y.label = "Tokens/s";
  plot.series.push_back({"run", 0, form, false, std::move(points)});
  return plot;
}

TEST(SvgPlot, DrawsALine) {
  const std::string svg = RenderSvg(LinePlot({{0, 0}, {5, 50}, {10, 100}}), "p1");
  const std::string path = PathOf(svg, "line c0");
  EXPECT_EQ(path.front(), 'M');
  EXPECT_EQ(Count(path, "L"), 2u);
  EXPECT_NE(svg.find("role=\"img\" aria-labelledby=\"p1-t p1-d\""), std::string::npos);
  EXPECT_NE(svg.find("<title id=\"p1-t\">Title</title>"), std::string::npos);
  EXPECT_NE(svg.find("run: 3 points from 0 to 100, the highest at 10."), std::string::npos);
}

TEST(SvgPlot, StepsHoldTheValue) {
  const std::string svg = RenderSvg(LinePlot({{0, 0}, {5, 50}, {10, 100}}, PlotForm::kStep), "p");
  const std::string path = PathOf(svg, "line c0");
  EXPECT_EQ(Count(path, "H"), 2u);
  EXPECT_EQ(Count(path, "V"), 2u);
  EXPECT_EQ(Count(path, "L"), 0u);
}

TEST(SvgPlot, InterruptsLinesAndDrawsLonelyPoints) {
  const std::string svg =
      RenderSvg(LinePlot({{0, 1}, {1, kNan}, {2, 3}, {3, 4}, {4, kInf}, {5, 2}}), "p");
  const std::string path = PathOf(svg, "line c0");
  EXPECT_EQ(Count(path, "M"), 3u);
  EXPECT_EQ(Count(path, "h0"), 2u);
  EXPECT_EQ(Count(svg, "nan"), 0u);
  EXPECT_EQ(Count(svg, "inf"), 0u);
}

TEST(SvgPlot, OnePoint) {
  const Plot plot = LinePlot({{3, 7}});
  EXPECT_TRUE(HasData(plot));
  EXPECT_TRUE(PathOf(RenderSvg(plot, "p"), "line c0").ends_with("h0"));
}

TEST(SvgPlot, NoData) {
  EXPECT_FALSE(HasData(LinePlot({})));
  EXPECT_FALSE(HasData(LinePlot({{kNan, 1}, {1, kInf}, {1, 1e300}})));
  const std::string svg = RenderSvg(LinePlot({{kNan, kNan}}), "p");
  EXPECT_EQ(PathOf(svg, "line"), "");
  EXPECT_NE(PathOf(svg, "grid"), "");
}

TEST(SvgPlot, ThinsHugeSeries) {
  std::vector<PlotXy> points;
  for (int i = 0; i < 200000; ++i) points.emplace_back(i, std::sin(i * 0.001) * i);
  EXPECT_LT(RenderSvg(LinePlot(points), "p").size(), 20000u);
  EXPECT_LT(RenderSvg(LinePlot(points, PlotForm::kDots), "p").size(), 40000u);
}

TEST(SvgPlot, EscapesWords) {
  Plot plot = LinePlot({{0, 1}, {1, 2}});
  const std::string bad = "</svg><script>alert(1)</script>";
  plot.title = plot.note = plot.x.label = plot.y.label = plot.series[0].name = bad;
  plot.marks.push_back({{1, 2}, bad, bad, 3, PlotMark::Look::kRing});
  plot.rules = {{false, 1.5, bad}, {true, 0.5, bad}};
  const std::string html = RenderFigure(plot, "\"><script>");
  EXPECT_EQ(Count(html, "<script"), 0u);
  EXPECT_EQ(Count(html, "</svg>"), 1u);
}

TEST(SvgPlot, MarksThatLieOnEachOtherDoNotAllGetWords) {
  Plot plot = LinePlot({});
  for (int i = 0; i < 30; ++i)
    plot.marks.push_back({{5 + i * 1e-3, 5}, "label", "", 0, PlotMark::Look::kSolid});
  plot.marks.push_back({{5, 5}, "the best", "", 1, PlotMark::Look::kRing});
  const std::string svg = RenderSvg(plot, "p");
  EXPECT_EQ(Count(svg, "<circle class=\"solid"), 31u);
  EXPECT_LT(Count(svg, ">label<"), 30u);
  EXPECT_EQ(Count(svg, ">the best<"), 1u);
}

TEST(SvgPlot, ColoursBeginAgainWithDashes) {
  EXPECT_EQ(PlotColorClass(7), "c1");
  Plot plot = LinePlot({{0, 1}, {1, 2}});
  plot.series[0].color = 7;
  EXPECT_NE(RenderSvg(plot, "p").find("class=\"line dash c1\""), std::string::npos);
}

TEST(SvgPlot, LegendNamesOnlyWhatIsThere) {
  Plot plot = LinePlot({{0, 1}});
  plot.series.push_back({"other", 1, PlotForm::kDots, false, {{1, 1}}});
  plot.series.push_back({"absent", 2, PlotForm::kLine, false, {}});
  const std::string legend = RenderLegend(plot.series);
  EXPECT_EQ(Count(legend, "<li"), 2u);
  EXPECT_EQ(Count(legend, "absent"), 0u);
  plot.series.resize(1);
  EXPECT_EQ(RenderLegend(plot.series), "");
}

TEST(SvgPlot, LogAxisHasEvenDecades) {
  Plot plot = LinePlot({{1, 0}, {10, 1}, {100, 2}});
  plot.x.log = true;
  const std::string path = PathOf(RenderSvg(plot, "p"), "line c0");
  // Equal steps in x: M x0 y0 L x1 y1 L x2 y2.
  double x[3], y[3];
  ASSERT_EQ(std::sscanf(path.c_str(), "M%lf %lfL%lf %lfL%lf %lf", &x[0], &y[0], &x[1], &y[1], &x[2],
                        &y[2]),
            6);
  EXPECT_NEAR(x[1] - x[0], x[2] - x[1], 0.2);
}

}  // namespace
}  // namespace quire
