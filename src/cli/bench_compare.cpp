// quire bench compare: runs side by side, from their files.
#include <cstdio>
#include <filesystem>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "bench/report.h"
#include "bench/run_json.h"
#include "bench/run_table.h"
#include "cli/bench_commands.h"
#include "cli/engine_options.h"

namespace quire {
namespace {

struct CompareFlags {
  std::vector<std::string> files;
  std::vector<std::string> labels;
  std::string report;
  std::string title = "Quire benchmark";
};

// Heads that tell the columns apart: the flags', then the files' own where they differ, then the
// files' names.
void LabelRuns(const CompareFlags& flags, std::vector<RunSummary>& runs) {
  std::multiset<std::string> own;
  for (const RunSummary& run : runs)
    own.insert(run.subject.label.empty() ? run.subject.model : run.subject.label);
  for (std::size_t i = 0; i < runs.size(); ++i) {
    std::string& label = runs[i].subject.label;
    if (label.empty()) label = runs[i].subject.model;
    if (label.empty() || own.count(label) > 1)
      label = std::filesystem::path(flags.files[i]).stem().string();
    if (i < flags.labels.size()) label = flags.labels[i];
  }
}

int RunCompare(const CompareFlags& flags) {
  if (flags.labels.size() > flags.files.size())
    return Fail(ConfigFault("--label is given more often than there are files"));
  std::vector<RunSummary> runs;
  std::vector<SweepResult> sweeps;
  for (const std::string& file : flags.files) {
    auto read = ReadRunFile(file);
    if (!read) return Fail(read.error());
    runs.push_back(std::move(read->run));
    if (read->sweep) sweeps.push_back(std::move(*read->sweep));
  }
  if (!flags.report.empty() && sweeps.size() > 1)
    return Fail(ConfigFault("--report has room for one sweep, and there are several"));
  LabelRuns(flags, runs);
  for (const SweepResult& sweep : sweeps) std::printf("%s\n", SweepTable(sweep).c_str());
  std::printf("%s", ComparisonTable(runs).c_str());
  if (flags.report.empty()) return 0;
  const ReportInput input{flags.title, runs, sweeps.empty() ? nullptr : &sweeps.front()};
  const Status status = WriteTextFile(RenderReport(input), flags.report);
  return status.ok() ? 0 : Fail(status.error());
}

}  // namespace

Command AddBenchCompareCommand(CLI::App& bench) {
  auto flags = std::make_shared<CompareFlags>();
  CLI::App* command =
      bench.add_subcommand("compare", "Runs and sweeps side by side, from their JSON files");
  command
      ->add_option("files", flags->files,
                   "Results of quire bench serve or sweep, or of vllm bench serve --save-result")
      ->required();
  command->add_option("--label", flags->labels, "A column's head; once for each file, in order")
      ->allow_extra_args(false);
  command->add_option("--report", flags->report, "Write a page with table and plots to this file");
  command->add_option("--title", flags->title, "The page's title")->capture_default_str();
  return [flags] { return RunCompare(*flags); };
}

}  // namespace quire
