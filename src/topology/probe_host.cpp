#include <fmt/core.h>

#include <algorithm>
#include <set>
#include <utility>

#include "topology/host_files.h"
#include "topology/probe_parts.h"

namespace quire {
namespace {

namespace fs = std::filesystem;

constexpr double kGiB = 1024.0 * 1024 * 1024;

// "model name" of "model name\t: AMD EPYC" → "AMD EPYC", the value of a line of /proc/cpuinfo.
bool IsField(std::string_view line, std::string_view key, std::string_view& value) {
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos || TrimBlanks(line.substr(0, colon)) != key) return false;
  value = TrimBlanks(line.substr(colon + 1));
  return true;
}

void ProbeCpu(const fs::path& root, Topology& topology) {
  const std::string text = ReadHostFile(root / "proc/cpuinfo");
  std::set<std::int64_t> sockets;
  std::set<std::pair<std::int64_t, std::int64_t>> cores;
  std::int64_t socket = 0;
  std::string implementer, part;
  for (std::string_view rest = text; !rest.empty();) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    std::string_view value;
    if (IsField(line, "processor", value)) {
      ++topology.num_threads;
    } else if (IsField(line, "model name", value)) {
      if (topology.cpu.empty()) topology.cpu = value;
    } else if (IsField(line, "physical id", value)) {
      socket = LeadingInteger(value).value_or(0);
      sockets.insert(socket);
    } else if (IsField(line, "core id", value)) {
      cores.emplace(socket, LeadingInteger(value).value_or(0));
    } else if (IsField(line, "CPU implementer", value)) {
      implementer = value;
    } else if (IsField(line, "CPU part", value)) {
      part = value;
    }
  }
  // ARM's kernels name neither model nor cores there.
  if (topology.cpu.empty() && !implementer.empty())
    topology.cpu = fmt::format("ARM CPU (implementer {}, part {})", implementer, part);
  topology.num_sockets = sockets.empty() ? 0 : static_cast<int>(sockets.size());
  topology.num_cores = cores.empty() ? topology.num_threads : static_cast<int>(cores.size());
  if (topology.num_threads == 0) topology.notes.push_back("/proc/cpuinfo names no processors");
}

void ProbeNodes(const fs::path& root, Topology& topology) {
  const fs::path folder = root / "sys/devices/system/node";
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (name.rfind("node", 0) != 0 || name.size() > 8) continue;
    const auto id = LeadingInteger(std::string_view(name).substr(4));
    if (!id || *id < 0) continue;
    NumaNode node;
    node.id = static_cast<int>(*id);
    node.cpus = FormatCpuList(ParseCpuList(ReadHostLine(it->path() / "cpulist")));
    node.memory_bytes = KibibytesOf(ReadHostFile(it->path() / "meminfo"), "MemTotal:");
    const std::string distances = ReadHostLine(it->path() / "distance");
    for (std::string_view rest = distances; !rest.empty();) {
      const std::string_view word = rest.substr(0, rest.find(' '));
      rest.remove_prefix(std::min(rest.size(), word.size() + 1));
      if (const auto value = LeadingInteger(word))
        node.distances.push_back(static_cast<int>(std::clamp<std::int64_t>(*value, 0, 1000)));
    }
    topology.nodes.push_back(std::move(node));
  }
  std::sort(topology.nodes.begin(), topology.nodes.end(),
            [](const NumaNode& a, const NumaNode& b) { return a.id < b.id; });
  for (NumaNode& node : topology.nodes) {
    if (node.distances.size() != topology.nodes.size()) node.distances.clear();
  }
  if (topology.nodes.empty())
    topology.notes.push_back("the kernel shows no NUMA nodes (/sys/devices/system/node)");
}

// "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.161.08  Sat …" → "535.161.08".
std::string DriverVersion(std::string_view text) {
  const std::string_view line = text.substr(0, text.find('\n'));
  for (std::size_t at = 0; at < line.size();) {
    const std::string_view word = line.substr(at, line.find(' ', at) - at);
    const std::size_t dot = word.find('.');
    if (dot != std::string_view::npos && dot > 0 &&
        word.find_first_not_of("0123456789.") == std::string_view::npos)
      return std::string(word);
    at += word.size() + 1;
  }
  return "";
}

// The folders of a control group from the process's own up to the root of the hierarchy.
std::vector<fs::path> GroupAndParents(const fs::path& mount, std::string_view group) {
  std::vector<fs::path> folders;
  fs::path relative = fs::path(group).relative_path();
  if (group.find("..") != group.npos) relative.clear();  // a group outside of our namespace
  for (int depth = 0; depth < 64 && !relative.empty(); ++depth) {
    folders.push_back(mount / relative);
    relative = relative.parent_path();
  }
  folders.push_back(mount);
  return folders;
}

struct GroupLimits {
  std::int64_t memory_bytes = 0;  // 0: none
  double cpus = 0;
};

void TakeLower(std::int64_t bytes, std::int64_t& limit) {
  if (bytes > 0 && (limit == 0 || bytes < limit)) limit = bytes;
}

void TakeLower(double cpus, double& limit) {
  if (cpus > 0 && (limit == 0 || cpus < limit)) limit = cpus;
}

// A quota and a period in microseconds; "max" and -1 are no limit.
void TakeQuota(std::string_view quota, std::string_view period, double& limit) {
  const auto used = LeadingInteger(quota), of = LeadingInteger(period);
  if (used && of && *of > 0)
    TakeLower(static_cast<double>(*used) / static_cast<double>(*of), limit);
}

// `controllers`: "" for version 2's one hierarchy, else "cpu,cpuacct" and the like.
void ReadGroup(const fs::path& mount, std::string_view controllers, std::string_view group,
               GroupLimits& limits) {
  const std::string list = "," + std::string(controllers) + ",";
  if (controllers.empty()) {
    for (const fs::path& folder : GroupAndParents(mount, group)) {
      TakeLower(LeadingInteger(ReadHostLine(folder / "memory.max")).value_or(0),
                limits.memory_bytes);
      const std::string quota = ReadHostLine(folder / "cpu.max");  // "200000 100000"
      TakeQuota(quota, std::string_view(quota).substr(std::min(quota.size(), quota.find(' '))),
                limits.cpus);
    }
  } else if (list.find(",memory,") != std::string::npos) {
    for (const fs::path& folder : GroupAndParents(mount / "memory", group))
      TakeLower(LeadingInteger(ReadHostLine(folder / "memory.limit_in_bytes")).value_or(0),
                limits.memory_bytes);
  } else if (list.find(",cpu,") != std::string::npos) {
    for (const fs::path& folder : GroupAndParents(mount / "cpu", group))
      TakeQuota(ReadHostLine(folder / "cpu.cfs_quota_us"),
                ReadHostLine(folder / "cpu.cfs_period_us"), limits.cpus);
  }
}

GroupLimits ReadGroupLimits(const fs::path& root) {
  GroupLimits limits;
  const std::string groups = ReadHostFile(root / "proc/self/cgroup");
  for (std::string_view rest = groups; !rest.empty();) {
    const std::string_view line = rest.substr(0, rest.find('\n'));  // "0::/path", "4:memory:/path"
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    const std::size_t first = line.find(':');
    const std::size_t second = first == line.npos ? line.npos : line.find(':', first + 1);
    if (second == line.npos) continue;
    ReadGroup(root / "sys/fs/cgroup", line.substr(first + 1, second - first - 1),
              line.substr(second + 1), limits);
  }
  return limits;
}

void NoteContainer(const fs::path& root, Topology& topology) {
  const std::string status = ReadHostFile(root / "proc/self/status");
  const std::string key = "Cpus_allowed_list:";
  if (const std::size_t at = status.find(key); at != std::string::npos) {
    const std::size_t begin = at + key.size();
    const std::vector<int> allowed =
        ParseCpuList(std::string_view(status).substr(begin, status.find('\n', begin) - begin));
    if (!allowed.empty() && static_cast<int>(allowed.size()) < topology.num_threads) {
      topology.notes.push_back(fmt::format("this process may run on {} of {} hardware threads: {}",
                                           allowed.size(), topology.num_threads,
                                           FormatCpuList(allowed)));
    }
  }
  const GroupLimits limits = ReadGroupLimits(root);
  if (limits.memory_bytes > 0 && limits.memory_bytes < topology.memory_bytes) {
    topology.notes.push_back(
        fmt::format("the control group (container) allows {:.1f} of {:.1f} GiB of host memory",
                    static_cast<double>(limits.memory_bytes) / kGiB,
                    static_cast<double>(topology.memory_bytes) / kGiB));
  }
  if (limits.cpus > 0 && limits.cpus < topology.num_threads) {
    topology.notes.push_back(
        fmt::format("the control group (container) allows the time of {:.1f} CPUs of {}",
                    limits.cpus, topology.num_threads));
  }
}

}  // namespace

void ProbeHost(const fs::path& root, Topology& topology) {
  topology.hostname = ReadHostLine(root / "proc/sys/kernel/hostname");
  topology.kernel = ReadHostLine(root / "proc/sys/kernel/osrelease");
  topology.driver = DriverVersion(ReadHostFile(root / "proc/driver/nvidia/version"));
  topology.memory_bytes = KibibytesOf(ReadHostFile(root / "proc/meminfo"), "MemTotal:");
  ProbeCpu(root, topology);
  ProbeNodes(root, topology);
  NoteContainer(root, topology);
}

}  // namespace quire
