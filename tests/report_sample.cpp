// Writes the reports that report_page.py opens in a browser: of one run, of several, of a sweep,
// and of runs whose every text is hostile. The runs are those of a small simulated server.
//
//     report_sample FOLDER
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "bench/report.h"
#include "bench/run_summary.h"

namespace quire {
namespace {

// What the simulated server is like, and what it is given to do.
struct SampleServer {
  std::string name, gpu;
  double step_ms = 14;            // of a step with one sequence
  double step_ms_each = 0.07;     // and for each further one
  double prefill_tokens_s = 9e4;  // while which nobody decodes
  int max_running = 160;
  double blocks_tokens = 160000;
  bool has_gauges = true;
};

struct SampleLoad {
  int requests = 300;
  double rate = 12;
  int input = 512, output = 220;
};

struct SampleSequence {
  double arrival = 0, last = 0;
  int input = 0, wanted = 0, made = 0;
  RequestRecord record;
};

// Owns the requests of one simulated run.
class Simulation {
 public:
  Simulation(const SampleServer& server, const SampleLoad& load, unsigned seed)
      : server_(server), random_(seed) {
    std::exponential_distribution<double> gap(std::isinf(load.rate) ? 1 : load.rate);
    std::lognormal_distribution<double> length(-0.08, 0.4);
    double t = 0;
    for (int i = 0; i < load.requests; ++i) {
      SampleSequence s;
      s.arrival = t;
      s.input = std::max(8, static_cast<int>(load.input * length(random_)));
      s.wanted = std::max(4, static_cast<int>(load.output * length(random_)));
      sequences_.push_back(s);
      if (!std::isinf(load.rate)) t += gap(random_);
    }
  }

  RunSummary Run(RunConfig config) {
    std::size_t next = 0, done = 0;
    std::vector<SampleSequence*> running;
    std::lognormal_distribution<double> jitter(0, 0.12);
    while (done < sequences_.size()) {
      if (running.empty() && next < sequences_.size())
        now_ = std::max(now_, sequences_[next].arrival);
      double step = 0;
      std::size_t num_new = 0;
      while (next < sequences_.size() && sequences_[next].arrival <= now_ && num_new < 12 &&
             static_cast<int>(running.size()) < server_.max_running) {
        step += sequences_[next].input / server_.prefill_tokens_s;
        running.push_back(&sequences_[next++]);
        ++num_new;
      }
      const double batch = static_cast<double>(running.size());
      step += (server_.step_ms + server_.step_ms_each * batch) * 1e-3 * jitter(random_);
      now_ += step;
      Note(running, next);
      for (SampleSequence* s : running) Deliver(*s);
      const auto is_done = [](const SampleSequence* s) { return s->made == s->wanted; };
      done += static_cast<std::size_t>(std::count_if(running.begin(), running.end(), is_done));
      std::erase_if(running, is_done);
    }
    return Summary(std::move(config));
  }

 private:
  void Deliver(SampleSequence& s) {
    // The network's share, of which some is shared by two events.
    const double seen = now_ + 1e-4 * std::exponential_distribution<double>(1)(random_);
    if (s.made == 0) {
      s.record.ttft_s = seen - s.arrival;
    } else {
      s.record.itl.push_back(static_cast<float>(std::max(seen - s.last, 2e-5)));
    }
    s.last = seen;
    ++s.made;
  }

  void Note(const std::vector<SampleSequence*>& running, std::size_t next) {
    const auto second = static_cast<std::size_t>(now_);
    while (series_.size() <= second) {
      SeriesPoint point;
      point.t_s = static_cast<double>(series_.size());
      point.ttft_ms = -1;
      series_.push_back(point);
    }
    SeriesPoint& point = series_[second];
    const double batch = static_cast<double>(running.size());
    double waiting = 0, tokens = 0;
    for (std::size_t i = next; i < sequences_.size() && sequences_[i].arrival <= now_; ++i)
      ++waiting;
    for (const SampleSequence* s : running) tokens += s->input + s->made;
    point.output_tokens += batch;
    point.concurrent = std::max(point.concurrent, batch + waiting);
    if (!server_.has_gauges) return;
    point.running = batch;
    point.waiting = waiting;
    point.kv_cache_usage = std::min(tokens / server_.blocks_tokens, 1.0);
  }

  RunSummary Summary(RunConfig config) {
    std::vector<RequestRecord> records;
    std::vector<PlotPair> ttft;
    for (SampleSequence& s : sequences_) {
      RequestRecord& r = s.record;
      r.planned_s = r.start_s = s.arrival;
      r.sent_s = s.arrival + 2e-4;
      r.latency_s = s.last - s.arrival;
      r.input_tokens = s.input;
      r.output_tokens = s.made;
      r.status = 200;
      ttft.emplace_back(r.start_s, r.ttft_s * 1000);
      records.push_back(r);
    }
    RunSummary run = Summarize(records, std::move(config), now_);
    run.series = std::move(series_);
    run.ttft_over_time = std::move(ttft);
    return run;
  }

  using PlotPair = std::pair<double, double>;
  const SampleServer server_;
  std::mt19937 random_;
  std::vector<SampleSequence> sequences_;
  std::vector<SeriesPoint> series_;
  double now_ = 0;
};

RunSummary SampleRun(const SampleServer& server, const SampleLoad& load, unsigned seed) {
  RunConfig config;
  config.date = "20261121-031500";
  config.base_url = "http://127.0.0.1:8000";
  config.num_prompts = load.requests;
  config.request_rate = load.rate;
  config.goodput_ms = {{"ttft", 500}, {"tpot", 50}};
  config.percentile_metrics = {"ttft", "tpot", "itl", "e2el"};
  config.cost_per_hour = 3.5;
  config.command = fmt::format(
      "quire bench serve --base-url http://127.0.0.1:8000 --model org/sample-8b \\\n"
      "  --dataset-name random --random-input-len {} --random-output-len {} \\\n"
      "  --num-prompts {} --request-rate {} --goodput ttft:500 tpot:50 --report report.html",
      load.input, load.output, load.requests, load.rate);
  RunSummary run = Simulation(server, load, seed).Run(config);
  run.subject = {server.name, "org/sample-8b", "", server.name, "bfloat16", 16.4, server.gpu, 1, 1};
  run.energy = EnergyUse{run.duration_s * 512, 74};
  run.host = {{"CPU", "2 × Intel Xeon Platinum 8480C, 112 cores, 2 NUMA nodes"},
              {"Memory", "2,048 GB"},
              {"GPU 0", server.gpu + ", 141 GB, PCIe 5.0 ×16, NUMA node 0, cores 0-55"},
              {"Links", "NVLink 4, 18 links, 478 GB/s as measured"},
              {"Driver", "570.86.15, CUDA 12.8"},
              {"Server flags", "--max-num-seqs 160 --kv-cache-dtype auto"}};
  return run;
}

RunSummary HostileRun(const std::string& text) {
  RunSummary run = SampleRun({.name = text, .gpu = text}, {.requests = 40}, 5);
  run.subject = {text, text, text, text, text, 1, text, 2, 2};
  run.config.date = run.config.command = run.config.base_url = run.config.dataset = text;
  run.config.goodput_ms = {{text, std::numeric_limits<double>::quiet_NaN()}};
  run.errors = {{text, 3}, {text + text, 1}};
  run.failed = 4;
  run.host = {{text, text}, {text + "2", text}};
  return run;
}

bool WriteSample(const std::string& path, const ReportInput& input) {
  std::ofstream out(path, std::ios::binary);
  out << RenderReport(input);
  out.close();
  return !out.fail();
}

SweepResult SampleSweep(const SampleServer& server) {
  SweepResult sweep;
  sweep.objectives = {{"ttft", 99, 500}, {"tpot", 99, 60}};
  for (const double rate : {2, 4, 8, 12, 16, 18, 19, 20, 24, 32}) {
    const int requests = static_cast<int>(rate * 40);
    SweepPoint point{rate, false, SampleRun(server, {.requests = requests, .rate = rate}, 7)};
    point.met = point.run.ttft.percentiles[99] < 500 && point.run.tpot.percentiles[99] < 60;
    // It thrashes: more requests make less.
    if (rate > 24) point.run.duration_s *= 1.3;
    if (point.met) sweep.best_rate = std::max(sweep.best_rate, rate);
    sweep.points.push_back(std::move(point));
  }
  return sweep;
}

int WriteAll(const std::string& folder) {
  const SampleServer a{.name = "Simulated A", .gpu = "simulated GPU"};
  const SampleServer b{.name = "Simulated B", .gpu = "simulated GPU", .step_ms = 17};
  const SampleServer c{
      .name = "Simulated C", .gpu = "simulated GPU", .step_ms = 15, .max_running = 110};
  const std::vector<RunSummary> one = {SampleRun(a, {.requests = 900, .rate = 18}, 1)};
  std::vector<RunSummary> three;
  for (const SampleServer& server : {b, a, c})
    three.push_back(SampleRun(server, {.requests = 1000, .rate = 22}, 2));
  three[1].config.date = "20261121-034210";

  std::vector<RunSummary> many;
  for (int i = 0; i < 9; ++i) {
    SampleServer server = a;
    server.name = fmt::format("a configuration with a long name, number {}", i);
    server.step_ms = 10 + 2 * i;
    server.has_gauges = i % 2 == 0;
    many.push_back(SampleRun(server, {.requests = 200}, 3));
  }
  const SweepResult sweep = SampleSweep(a);
  const std::string attack =
      "</title></style><script>window.pwned = 1</script>\"'><img src=x "
      "onerror=pwned=1>&amp;\x01\xff";
  const std::vector<RunSummary> hostile = {HostileRun(attack), HostileRun(attack + "!")};

  const std::vector<std::pair<std::string, ReportInput>> pages = {
      {"one", {"One simulated server", one, nullptr}},
      {"three", {"Three simulated servers, one load", three, nullptr}},
      {"many", {"Nine configurations", many, nullptr}},
      {"sweep", {"How many requests a second? (simulated server)", {}, &sweep}},
      {"hostile", {attack, hostile, nullptr}},
      {"empty", {}}};
  for (const auto& [name, input] : pages)
    if (!WriteSample(folder + "/" + name + ".html", input)) {
      fmt::print(stderr, "report_sample: cannot write to {}\n", folder);
      return 1;
    }
  return 0;
}

}  // namespace
}  // namespace quire

int main(int argc, char** argv) {
  if (argc != 2) {
    fmt::print(stderr, "usage: report_sample FOLDER\n");
    return 2;
  }
  return quire::WriteAll(argv[1]);
}
