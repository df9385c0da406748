#include "bench/report_style.h"

namespace quire {
namespace {

// The six colours keep apart for the usual kinds of colour blindness (they differ in lightness as
// well as in hue) and have a contrast of 3 : 1 and more to their background. Paper is always light,
// whatever the screen prefers. No '<' or '&': the page parses as XML too.
constexpr std::string_view kReportCss = R"css(
:root {
  color-scheme: light dark;
  --bg: #ffffff; --fg: #1a1e23; --muted: #59626c; --line: #dde1e6; --grid: #e8ebee;
  --axis: #8f98a3; --panel: #f6f7f9; --good: #0b7a5c; --bad: #b3261e; --rule: #59626c;
  --c0: #1b66b3; --c1: #d35c0c; --c2: #00866a; --c3: #ae3f94; --c4: #3994c6; --c5: #59616b;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --bg: #14171b; --fg: #e7e9ec; --muted: #a0a9b3; --line: #30363d; --grid: #272c33;
    --axis: #68727d; --panel: #1b1f24; --good: #4cc9a0; --bad: #ff8a80; --rule: #a0a9b3;
    --c0: #5ea3ef; --c1: #ff9a4d; --c2: #35bd97; --c3: #e486cf; --c4: #b3dcf5; --c5: #9fa8b2;
  }
}
.c0 { --c: var(--c0); } .c1 { --c: var(--c1); } .c2 { --c: var(--c2); }
.c3 { --c: var(--c3); } .c4 { --c: var(--c4); } .c5 { --c: var(--c5); }
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 40px 28px 56px; max-width: 1200px; background: var(--bg);
  color: var(--fg); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue",
  Arial, sans-serif; font-variant-numeric: tabular-nums; overflow-wrap: anywhere;
  -webkit-text-size-adjust: 100%;
}
header { margin-bottom: 28px; }
h1 { margin: 0 0 4px; font-size: 28px; line-height: 1.2; font-weight: 650; letter-spacing: -0.015em; }
h2 { margin: 52px 0 4px; font-size: 19px; line-height: 1.3; font-weight: 650; letter-spacing: -0.005em; }
h3 { margin: 0; font-size: 15px; line-height: 1.4; font-weight: 600; }
p { margin: 0; }
header p, h2 + p, figcaption p, .note { color: var(--muted); max-width: 76ch; }
h2 + p { margin-bottom: 14px; }
h2 + :not(p) { margin-top: 16px; }
.lead { margin: 0 0 20px; font-size: 18px; line-height: 1.45; max-width: 68ch; }
.warn { margin: 16px 0 0; padding: 9px 14px; border-left: 3px solid var(--bad);
  background: var(--panel); max-width: 84ch; }
.swatch { display: inline-block; width: 10px; height: 10px; margin-right: 7px; border-radius: 2px;
  background: var(--c); print-color-adjust: exact; -webkit-print-color-adjust: exact; }
.tiles { display: grid; grid-template-columns: repeat(var(--n), minmax(0, 1fr)); gap: 12px; }
.tile { padding: 14px 16px; border-radius: 8px; background: var(--panel); break-inside: avoid; }
.tile h3 { font-size: 13px; font-weight: 500; color: var(--muted); }
.tile b { font-size: 27px; line-height: 1.3; font-weight: 600; letter-spacing: -0.015em; }
.tile b small { margin-left: 5px; font-size: 14px; font-weight: 400; letter-spacing: 0;
  color: var(--muted); }
.tile p { font-size: 13px; color: var(--muted); }
.bars { display: grid; grid-template-columns: minmax(0, 1fr) auto; gap: 8px 14px; margin-top: 7px;
  align-items: end; font-size: 14px; }
.bars div { min-width: 0; line-height: 1.35; }
.bars i { display: block; height: 5px; margin-top: 3px; border-radius: 2.5px; background: var(--c);
  print-color-adjust: exact; -webkit-print-color-adjust: exact; }
.bars .v { text-align: right; white-space: nowrap; line-height: 1.1; }
.best { font-weight: 650; }
.plots { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 34px 40px;
  margin-top: 20px; }
figure { display: flex; flex-direction: column; min-width: 0; margin: 0; }
figcaption { margin-bottom: 10px; }
figcaption p, .legend { font-size: 13px; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 16px; margin: 3px 0 0; padding: 0;
  list-style: none; color: var(--fg); }
h2 ~ .legend { margin-top: 10px; }
.legend i { display: inline-block; width: 18px; margin-right: 6px; vertical-align: middle;
  border-top: 2.5px solid var(--c); }
.legend i.dash { border-top-style: dashed; }
.legend i.dot { width: 7px; height: 7px; border: 0; border-radius: 50%; background: var(--c);
  print-color-adjust: exact; -webkit-print-color-adjust: exact; }
svg { display: block; width: 100%; height: auto; margin-top: auto; overflow: visible; }
svg text { font: 12.5px system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial,
  sans-serif; font-variant-numeric: tabular-nums; fill: var(--muted); }
svg .e { text-anchor: end; }
svg .m { text-anchor: middle; }
svg .tag { fill: var(--fg); stroke: var(--bg); stroke-width: 4px; stroke-linejoin: round;
  paint-order: stroke; }
svg .strong { font-weight: 650; }
svg path { fill: none; }
.grid { stroke: var(--grid); stroke-width: 1; }
.axis { stroke: var(--axis); stroke-width: 1; }
.line { stroke: var(--c); stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
.dash { stroke-dasharray: 5 4.5; }
.dots { stroke: var(--c); stroke-width: 3.6; stroke-linecap: round; stroke-opacity: 0.34; }
.rule { stroke: var(--rule); stroke-width: 1.25; stroke-dasharray: 2 3; }
.solid { fill: var(--c); stroke: var(--bg); stroke-width: 1.25; }
.hollow { fill: var(--bg); stroke: var(--c); stroke-width: 1.75; }
.ring { fill: none; stroke: var(--c); stroke-width: 1.75; }
.scroll { overflow-x: auto; }
.text td { white-space: pre-line; }
table { border-collapse: collapse; font-size: 14px; }
.pair { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 0 40px; }
.pair table { width: 100%; align-self: start; }
th, td { padding: 6px 0 6px 22px; border-bottom: 1px solid var(--line); text-align: right;
  vertical-align: top; font-weight: 400; }
th:first-child { padding-left: 0; text-align: left; color: var(--muted); }
thead th { vertical-align: bottom; border-bottom-color: var(--axis); font-weight: 600; }
thead th:first-child { font-weight: 400; }
tbody th { min-width: 11em; }
.own thead th { min-width: 0; overflow-wrap: normal; }
.errors tbody th { min-width: 4em; }
.n { white-space: nowrap; }
thead th { min-width: 5.5em; }
.text td, .text thead th, td.t { text-align: left; }
.scroll th:first-child { position: sticky; left: 0; background: var(--bg); }
tr.best th:first-child, tr.best td { background: var(--panel); }
.yes { color: var(--good); } .no { color: var(--bad); }
.scroll + h3, .scroll + pre, .scroll + .plots, pre + h3 { margin-top: 22px; }
pre { margin: 6px 0 0; padding: 12px 15px; border-radius: 8px; background: var(--panel);
  font: 13px/1.55 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
  white-space: pre-wrap; }
footer { margin-top: 48px; padding-top: 12px; border-top: 1px solid var(--line); font-size: 13px;
  color: var(--muted); }
@media (max-width: 980px) { .tiles { grid-template-columns: repeat(2, minmax(0, 1fr)); } }
@media (max-width: 740px) {
  body { padding: 24px 16px 40px; }
  .plots, .pair { grid-template-columns: minmax(0, 1fr); }
  th, td { padding-left: 14px; }
  tbody th { min-width: 8em; }
}
@media (max-width: 480px) {
  .tiles:has(.bars) { grid-template-columns: minmax(0, 1fr); }
  svg text { font-size: 14px; }
}
@media print {
  @page { margin: 12mm 13mm; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  h1 { font-size: 19pt; } h2 { margin-top: 20px; font-size: 13.5pt; }
  h1, h2, h3, figcaption, h2 + p { break-after: avoid; }
  figure, tr, .pair, .tile, .legend { break-inside: avoid; }
  thead { display: table-header-group; }
  .plots { grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 14px 24px; margin-top: 10px; }
  .pair { grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 0 24px; }
  .tiles { grid-template-columns: repeat(var(--n), minmax(0, 1fr)); gap: 7px; }
  .tile { padding: 8px 10px; } .tile b { font-size: 15pt; } .tile b small { font-size: 9pt; }
  .tile h3, .tile p, .bars { font-size: 8.5pt; }
  .tile, pre, .warn { border: 1px solid var(--line); }
  table { font-size: 8.5pt; } th, td { padding-left: 9px; }
  thead th { min-width: 0; } tbody th { min-width: 8em; }
  th, td { padding-top: 3px; padding-bottom: 3px; }
  figcaption { margin-bottom: 4px; } figcaption p, .legend { font-size: 8.5pt; line-height: 1.35; }
  h3 { font-size: 10pt; } svg text { font-size: 14px; }
  .scroll { overflow: visible; }
}
)css";

}  // namespace

std::string_view ReportCss() { return kReportCss; }

}  // namespace quire
