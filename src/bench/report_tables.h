// The parts of a report that are tables and figures in words.
#pragma once

#include <string>

#include "bench/report_plots.h"
#include "bench/sweep_result.h"

namespace quire {

// Each is HTML, or empty where there is nothing to say.
std::string HeadlineTiles(const NamedRuns& runs);
std::string ResultsTable(const NamedRuns& runs);
std::string SweepRows(const SweepResult& sweep);
std::string ErrorTable(const NamedRuns& runs);
std::string HostTable(const NamedRuns& runs);
std::string LoadTable(const NamedRuns& runs);
std::string CommandBlocks(const NamedRuns& runs);

// A run's name with the square of its colour in front, where there is more than one run.
std::string RunHead(const NamedRuns& runs, std::size_t index);
// "20261121-031500" -> "2026-11-21 03:15"; other text comes back as it is.
std::string ReadableDate(const std::string& date);

}  // namespace quire
