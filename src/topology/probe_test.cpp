#include "topology/probe.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <map>
#include <set>

#include "topology/gpu_energy.h"
#include "topology/host_files.h"
#include "topology/probe_parts.h"
#include "topology/test_hosts.h"

namespace quire {
namespace {

namespace fs = std::filesystem;

// Owns a folder with a host's /proc and /sys.
class FakeRoot {
 public:
  FakeRoot() {
    std::string path = (fs::temp_directory_path() / "quire-topology-XXXXXX").string();
    root_ = ::mkdtemp(path.data());
  }
  ~FakeRoot() {
    std::error_code error;
    fs::remove_all(root_, error);
  }
  FakeRoot(const FakeRoot&) = delete;
  FakeRoot& operator=(const FakeRoot&) = delete;

  void Write(const std::string& file, const std::string& text) const {
    fs::create_directories((root_ / file).parent_path());
    std::ofstream(root_ / file) << text;
  }
  // A device below /sys/devices with its link in /sys/bus/pci/devices.
  void AddPci(const std::string& path, int node, const std::string& vendor = "0x10de",
              const std::string& type = "0x030200") const {
    const fs::path device = fs::path("sys/devices") / path;
    Write(device / "vendor", vendor + "\n");
    Write(device / "class", type + "\n");
    Write(device / "device", "0x2335\n");
    Write(device / "numa_node", std::to_string(node) + "\n");
    Write(device / "local_cpulist", node == 1 ? "4-7\n" : "0-3\n");
    Write(device / "current_link_speed", "2.5 GT/s PCIe\n");
    Write(device / "max_link_speed", "32.0 GT/s PCIe\n");
    Write(device / "current_link_width", "8\n");
    Write(device / "max_link_width", "16\n");
    fs::create_directories(root_ / "sys/bus/pci/devices");
    fs::create_directory_symlink(fs::path("../../../devices") / path,
                                 root_ / "sys/bus/pci/devices" / device.filename());
  }

  const fs::path& path() const { return root_; }

 private:
  fs::path root_;
};

// Two sockets of two cores with two threads each.
void AddTwoNodes(const FakeRoot& root) {
  std::string cpus;
  for (int i = 0; i < 8; ++i) {
    cpus += "processor\t: " + std::to_string(i) +
            "\nmodel name\t: Test CPU\nphysical id\t: " + std::to_string(i / 4) +
            "\ncore id\t\t: " + std::to_string(i % 2) + "\nflags : a b\n\n";
  }
  root.Write("proc/cpuinfo", cpus);
  root.Write("proc/meminfo", "MemTotal:       16777216 kB\nMemFree:  1 kB\n");
  root.Write("proc/sys/kernel/hostname", "fake\n");
  root.Write("proc/sys/kernel/osrelease", "6.1.0\n");
  root.Write("proc/driver/nvidia/version",
             "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.159.04  Release Build\n"
             "GCC version: 12.3\n");
  root.Write("proc/self/status", "Name:\tx\nCpus_allowed_list:\t0-7\n");
  for (const int node : {0, 1}) {
    const std::string folder = "sys/devices/system/node/node" + std::to_string(node) + "/";
    root.Write(folder + "cpulist", node == 0 ? "0-3\n" : "4-7\n");
    root.Write(folder + "meminfo", "Node 0 MemTotal:        8388608 kB\nNode 0 MemFree: 5 kB\n");
    root.Write(folder + "distance", node == 0 ? "10 21\n" : "21 10\n");
  }
  root.Write("sys/devices/system/node/online", "0-1\n");
}

Result<NvmlApi> NoNvml() {
  return Error{ErrorKind::kDevice, "libnvidia-ml.so.1 was not found", "", ""};
}

TEST(Probe, ReadsProcAndSys) {
  const FakeRoot root;
  AddTwoNodes(root);
  const Topology topology = ProbeTopology(root.path(), NoNvml());
  EXPECT_EQ(topology.hostname, "fake");
  EXPECT_EQ(topology.kernel, "6.1.0");
  EXPECT_EQ(topology.cpu, "Test CPU");
  EXPECT_EQ(topology.driver, "580.159.04");
  EXPECT_EQ(topology.num_sockets, 2);
  EXPECT_EQ(topology.num_cores, 4);
  EXPECT_EQ(topology.num_threads, 8);
  EXPECT_EQ(topology.memory_bytes, std::int64_t{16} << 30);
  ASSERT_EQ(topology.nodes.size(), 2u);
  EXPECT_EQ(topology.nodes[1].cpus, "4-7");
  EXPECT_EQ(topology.nodes[1].memory_bytes, std::int64_t{8} << 30);
  EXPECT_EQ(topology.nodes[1].distances, (std::vector<int>{21, 10}));
  EXPECT_TRUE(topology.gpus.empty());
  EXPECT_TRUE(topology.notes.empty()) << topology.notes[0];
}

TEST(Probe, SaysWhatIsMissing) {
  const FakeRoot root;
  const Topology topology = ProbeTopology(root.path(), NoNvml());
  EXPECT_EQ(topology.num_threads, 0);
  ASSERT_EQ(topology.notes.size(), 2u);
  EXPECT_NE(topology.notes[0].find("/proc/cpuinfo"), std::string::npos);
  EXPECT_NE(topology.notes[1].find("NUMA"), std::string::npos);
}

TEST(Probe, NotesTheLimitsOfContainers) {
  const FakeRoot root;
  AddTwoNodes(root);
  root.Write("proc/self/status", "Cpus_allowed_list:\t0-1,4\n");
  root.Write("proc/self/cgroup", "0::/pod/box\n");
  root.Write("sys/fs/cgroup/memory.max", "max\n");
  root.Write("sys/fs/cgroup/pod/memory.max", "4294967296\n");  // the parent's counts too
  root.Write("sys/fs/cgroup/pod/box/memory.max", "8589934592\n");
  root.Write("sys/fs/cgroup/pod/box/cpu.max", "150000 100000\n");
  Topology topology = ProbeTopology(root.path(), NoNvml());
  ASSERT_EQ(topology.notes.size(), 3u);
  EXPECT_EQ(topology.notes[0], "this process may run on 3 of 8 hardware threads: 0-1,4");
  EXPECT_NE(topology.notes[1].find("4.0 of 16.0 GiB"), std::string::npos) << topology.notes[1];
  EXPECT_NE(topology.notes[2].find("1.5 CPUs of 8"), std::string::npos) << topology.notes[2];

  root.Write("proc/self/cgroup", "5:cpu,cpuacct:/c\n4:memory:/m\n0::/\nbad\n");
  root.Write("sys/fs/cgroup/memory/m/memory.limit_in_bytes", "2147483648\n");
  root.Write("sys/fs/cgroup/cpu/c/cpu.cfs_quota_us", "-1\n");
  root.Write("sys/fs/cgroup/cpu/c/cpu.cfs_period_us", "100000\n");
  topology = ProbeTopology(root.path(), NoNvml());
  ASSERT_EQ(topology.notes.size(), 2u);
  EXPECT_NE(topology.notes[1].find("2.0 of 16.0 GiB"), std::string::npos) << topology.notes[1];
}

TEST(Probe, FindsGpusOnTheBusWithoutDriver) {
  const FakeRoot root;
  AddTwoNodes(root);
  // Two below one switch, a third below a further switch, one on another port, one far away.
  const std::string upper = "pci0000:17/0000:17:01.0/0000:18:00.0/";
  root.AddPci(upper + "0000:19:00.0/0000:1a:00.0", 0);
  root.AddPci(upper + "0000:19:01.0/0000:1b:00.0", 0);
  root.AddPci(upper + "0000:19:02.0/0000:1c:00.0/0000:1d:00.0/0000:1e:00.0", 0);
  root.AddPci("pci0000:17/0000:17:02.0/0000:2a:00.0", 0);
  root.AddPci("pci0000:40/0000:40:01.0/0000:41:00.0", 0, "0x10de", "0x030000");
  root.AddPci("pci0000:97/0000:97:01.0/0000:98:00.0", 1);
  root.AddPci("pci0000:97/0000:97:01.0/0000:98:00.1", 1, "0x10de", "0x040300");  // its sound
  root.AddPci("pci0000:97/0000:97:02.0/0000:99:00.0", 1, "0x1002");              // not NVIDIA's
  root.Write("sys/devices/pci0000:97/0000:97:01.0/max_link_speed", "16.0 GT/s PCIe\n");
  root.Write("sys/devices/pci0000:97/0000:97:01.0/max_link_width", "4\n");
  root.Write("proc/driver/nvidia/gpus/0000:1a:00.0/information",
             "Model: \t\t NVIDIA H200\nIRQ: 1\n");
  const Topology topology = ProbeTopology(root.path(), NoNvml());
  ASSERT_EQ(topology.gpus.size(), 6u);
  EXPECT_EQ(topology.gpus[0].name, "NVIDIA H200");
  EXPECT_EQ(topology.gpus[1].name, "NVIDIA device 0x2335");
  EXPECT_EQ(topology.gpus[0].pcie.generation, 1);
  EXPECT_EQ(topology.gpus[0].pcie.width, 8);
  EXPECT_EQ(topology.gpus[0].pcie.max_generation, 5);
  EXPECT_EQ(topology.gpus[5].pcie.max_generation, 4) << "the slot's limit";
  EXPECT_EQ(topology.gpus[5].pcie.max_width, 4);
  EXPECT_EQ(topology.gpus[5].numa_node, 1);
  EXPECT_EQ(topology.gpus[5].cpu_affinity, "4-7");
  EXPECT_EQ(topology.Pair(0, 1)->link, LinkKind::kPix);
  EXPECT_EQ(topology.Pair(0, 2)->link, LinkKind::kPxb);
  EXPECT_EQ(topology.Pair(0, 3)->link, LinkKind::kPhb);
  EXPECT_EQ(topology.Pair(0, 4)->link, LinkKind::kNode);
  EXPECT_EQ(topology.Pair(0, 5)->link, LinkKind::kSys);
  ASSERT_EQ(topology.notes.size(), 2u);
  EXPECT_EQ(topology.notes[0], "libnvidia-ml.so.1 was not found");
}

// NVML of a test: GPUs at bus 0x10, 0x11, … that answer what a test sets.
struct FakeNvml {
  unsigned num_gpus = 2;
  int init_result = kNvmlSuccess;
  bool started = false, stopped = false;
  std::map<unsigned, int> index_results;
  int num_links = 0;
  int remote_type = -1;                               // -1: the driver does not know the function
  std::function<int(unsigned gpu, unsigned)> remote;  // bus of a link's other end; null: no answer
  std::function<int(int a, int b, int capability)> p2p;
  int ancestor = 50;
  unsigned long long millijoules = 5000;
  bool counts_energy = true;

  static unsigned IndexOf(NvmlDevice device) {
    return static_cast<unsigned>(reinterpret_cast<std::uintptr_t>(device)) - 1;
  }
  NvmlApi Api();
  void AddLinks(NvmlApi& api);
};

int Answer(char* text, unsigned length, const char* answer) {
  std::snprintf(text, length, "%s", answer);
  return kNvmlSuccess;
}

void FakeNvml::AddLinks(NvmlApi& api) {
  api.nvlink_state = [this](NvmlDevice, unsigned link, unsigned* active) {
    if (link >= 18) return 2;
    *active = link < static_cast<unsigned>(num_links) ? 1 : 0;
    return kNvmlSuccess;
  };
  api.nvlink_version = [](NvmlDevice, unsigned, unsigned* version) {
    *version = 6;
    return kNvmlSuccess;
  };
  api.nvlink_remote_type = [this](NvmlDevice, unsigned, int* type) {
    *type = remote_type;
    return remote_type < 0 ? 3 : kNvmlSuccess;
  };
  api.nvlink_remote_pci = [this](NvmlDevice gpu, unsigned link, NvmlPciInfo* pci) {
    if (!remote) return 3;
    *pci = TestPciInfo(static_cast<unsigned>(remote(IndexOf(gpu), link)));
    return kNvmlSuccess;
  };
  api.common_ancestor = [this](NvmlDevice, NvmlDevice, int* level) {
    *level = ancestor;
    return kNvmlSuccess;
  };
  api.p2p_status = [this](NvmlDevice a, NvmlDevice b, int capability, int* status) {
    if (!p2p) return 3;
    *status = p2p(static_cast<int>(IndexOf(a)), static_cast<int>(IndexOf(b)), capability);
    return kNvmlSuccess;
  };
}

NvmlApi FakeNvml::Api() {
  NvmlApi api;
  api.init = [this] {
    started = init_result == kNvmlSuccess;
    return init_result;
  };
  api.shutdown = [this] {
    stopped = true;
    return kNvmlSuccess;
  };
  api.error_string = [](int result) { return result == 9 ? "Driver Not Loaded" : "odd"; };
  api.driver_version = [](char* text, unsigned length) { return Answer(text, length, "580.1"); };
  api.device_count = [this](unsigned* count) {
    *count = num_gpus;
    return kNvmlSuccess;
  };
  api.device_by_index = [this](unsigned index, NvmlDevice* device) {
    *device = reinterpret_cast<NvmlDevice>(std::uintptr_t{index} + 1);
    return index_results.count(index) != 0 ? index_results[index] : kNvmlSuccess;
  };
  api.name = [](NvmlDevice, char* text, unsigned length) {
    return Answer(text, length, "NVIDIA\x1bTest");
  };
  api.uuid = [](NvmlDevice, char* text, unsigned length) { return Answer(text, length, "GPU-1"); };
  api.pci_info = [](NvmlDevice gpu, NvmlPciInfo* pci) {
    *pci = TestPciInfo(0x10 + IndexOf(gpu));
    return kNvmlSuccess;
  };
  api.compute_capability = [](NvmlDevice, int* major, int* minor) {
    *major = 12;
    *minor = 1;
    return kNvmlSuccess;
  };
  api.memory_info = [](NvmlDevice, NvmlMemory* memory) {
    *memory = {1000, 900, 100};
    return kNvmlSuccess;
  };
  const auto number = [](unsigned value) {
    return [value](NvmlDevice, unsigned* out) {
      *out = value;
      return kNvmlSuccess;
    };
  };
  api.pcie_generation = number(1);
  api.pcie_width = number(16);
  api.pcie_max_generation = number(5);
  api.pcie_max_width = number(0xffffffff);  // nonsense
  api.power_usage = number(75500);
  api.power_limit = number(700000);
  api.cpu_affinity = [](NvmlDevice, unsigned words, unsigned long* cpus) {
    cpus[0] = 0xf0;
    cpus[words - 1] = 0;
    return kNvmlSuccess;
  };
  api.total_energy = [this](NvmlDevice, unsigned long long* energy) {
    *energy = millijoules;
    return counts_energy ? kNvmlSuccess : 3;
  };
  AddLinks(api);
  return api;
}

Topology ProbeFake(FakeNvml& nvml, const std::function<void(NvmlApi&)>& change = {}) {
  const FakeRoot root;
  AddTwoNodes(root);
  root.AddPci("pci0000:97/0000:97:01.0/0000:11:00.0", 1);
  NvmlApi api = nvml.Api();
  if (change) change(api);
  return ProbeTopology(root.path(), api);
}

TEST(ProbeNvml, TellsTheGpus) {
  FakeNvml nvml;
  nvml.p2p = [](int, int, int capability) { return capability == 1 ? 5 : 0; };
  const Topology topology = ProbeFake(nvml);
  EXPECT_TRUE(nvml.started && nvml.stopped);
  EXPECT_EQ(topology.driver, "580.1");
  ASSERT_EQ(topology.gpus.size(), 2u);
  const GpuFacts& gpu = topology.gpus[1];
  EXPECT_EQ(gpu.index, 1);
  EXPECT_EQ(gpu.name, "NVIDIA Test") << "control characters are not shown";
  EXPECT_EQ(gpu.uuid, "GPU-1");
  EXPECT_EQ(gpu.pci_address, "0000:11:00.0");
  EXPECT_EQ(gpu.compute_capability, 121);
  EXPECT_EQ(gpu.memory_bytes, 1000);
  EXPECT_EQ(gpu.memory_free_bytes, 900);
  EXPECT_EQ(gpu.pcie.generation, 1);
  EXPECT_EQ(gpu.pcie.max_generation, 5);
  EXPECT_EQ(gpu.pcie.max_width, 0);
  EXPECT_EQ(gpu.cpu_affinity, "4-7");
  EXPECT_EQ(gpu.numa_node, 1) << "of the PCI device";
  EXPECT_EQ(topology.gpus[0].numa_node, -1);
  EXPECT_DOUBLE_EQ(gpu.power_watts, 75.5);
  EXPECT_DOUBLE_EQ(gpu.power_limit_watts, 700);
  ASSERT_EQ(topology.pairs.size(), 1u);
  EXPECT_EQ(topology.pairs[0].link, LinkKind::kSys);
  EXPECT_EQ(topology.pairs[0].driver_claims_peer, false) << "reads alone are not enough";
}

TEST(ProbeNvml, NamesTheWayByTheCommonAncestor) {
  const std::map<int, LinkKind> kinds = {
      {0, LinkKind::kPix},   {10, LinkKind::kPix}, {20, LinkKind::kPxb},    {30, LinkKind::kPhb},
      {40, LinkKind::kNode}, {50, LinkKind::kSys}, {60, LinkKind::kUnknown}};
  for (const auto& [level, kind] : kinds) {
    FakeNvml nvml;
    nvml.ancestor = level;
    EXPECT_EQ(ProbeFake(nvml).pairs[0].link, kind) << level;
  }
}

TEST(ProbeNvml, CountsBridgedLinks) {
  FakeNvml nvml;
  nvml.num_gpus = 3;
  nvml.num_links = 4;
  nvml.remote_type = 0;
  // 0 and 1 are bridged; 2's other end is a GPU that we do not see.
  nvml.remote = [](unsigned gpu, unsigned) { return gpu == 0 ? 0x11 : gpu == 1 ? 0x10 : 0x77; };
  nvml.p2p = [](int a, int b, int) { return a + b == 1 ? 0 : 5; };
  const Topology topology = ProbeFake(nvml);
  EXPECT_EQ(topology.Pair(0, 1)->num_nvlinks, 4);
  EXPECT_EQ(topology.Pair(0, 1)->link, LinkKind::kNvLink);
  EXPECT_EQ(topology.Pair(1, 2)->link, LinkKind::kSys);
  EXPECT_FALSE(topology.gpus[0].nvswitch);
  EXPECT_DOUBLE_EQ(topology.gpus[0].nvlink_gb_per_s, 25) << "by the version";
}

TEST(ProbeNvml, SeesSwitches) {
  FakeNvml nvml;
  nvml.num_gpus = 3;
  nvml.num_links = 18;
  nvml.remote_type = 2;
  nvml.remote = [](unsigned, unsigned) { return 0xc1; };
  const Topology topology = ProbeFake(nvml, [](NvmlApi& api) {
    api.field_values = [](NvmlDevice, int, NvmlFieldValue* value) {
      value->result = value->field_id == kNvmlFieldLinkSpeedCommon ? 3 : kNvmlSuccess;
      value->value_type = 1;
      value->value.uint32 = 26562;
      return kNvmlSuccess;
    };
  });
  EXPECT_EQ(topology.Pair(0, 2)->num_nvlinks, 18) << "though peer access is not told";
  EXPECT_TRUE(topology.gpus[1].nvswitch);
  EXPECT_DOUBLE_EQ(topology.gpus[1].nvlink_gb_per_s, 26.562);
}

// In a virtual machine the switches are out of sight.
TEST(ProbeNvml, InfersSwitches) {
  for (const bool addressed : {false, true}) {
    FakeNvml nvml;
    nvml.num_gpus = 3;
    nvml.num_links = 18;
    if (addressed) nvml.remote = [](unsigned, unsigned) { return 0xc1; };
    nvml.p2p = [](int, int, int) { return 0; };
    Topology topology = ProbeFake(nvml);
    EXPECT_EQ(topology.Pair(0, 1)->num_nvlinks, 18);
    EXPECT_TRUE(topology.gpus[0].nvswitch);
    nvml.p2p = [](int, int, int) { return 5; };
    topology = ProbeFake(nvml);
    EXPECT_EQ(topology.Pair(0, 1)->link, LinkKind::kSys);
    EXPECT_FALSE(topology.gpus[0].nvswitch);
  }
}

TEST(ProbeNvml, ToleratesEveryMissingFunction) {
  FakeNvml nvml;
  const Topology topology = ProbeFake(nvml, [](NvmlApi& api) {
    NvmlApi bare;
    bare.init = api.init;
    bare.device_count = api.device_count;
    bare.device_by_index = api.device_by_index;
    api = bare;
  });
  ASSERT_EQ(topology.gpus.size(), 2u);
  EXPECT_EQ(topology.gpus[1].name, "");
  EXPECT_EQ(topology.pairs[0].link, LinkKind::kUnknown);
  EXPECT_FALSE(topology.pairs[0].driver_claims_peer.has_value());
  EXPECT_EQ(topology.driver, "580.159.04") << "of /proc";
}

TEST(ProbeNvml, FallsBackToTheBus) {
  FakeNvml nvml;
  nvml.init_result = 9;
  Topology topology = ProbeFake(nvml);
  ASSERT_EQ(topology.gpus.size(), 1u);
  EXPECT_EQ(topology.gpus[0].name, "NVIDIA device 0x2335");
  EXPECT_EQ(topology.notes[0], "NVML does not start: Driver Not Loaded");
  EXPECT_FALSE(nvml.stopped);

  nvml.init_result = kNvmlSuccess;
  topology = ProbeFake(nvml, [](NvmlApi& api) { api.device_count = nullptr; });
  EXPECT_EQ(topology.gpus.size(), 1u);
  EXPECT_EQ(topology.notes[0], "NVML does not count GPUs: odd");

  topology = ProbeFake(nvml, [](NvmlApi& api) { api = NvmlApi(); });
  EXPECT_EQ(topology.notes[0], "NVML does not start: error 13");
}

TEST(ProbeNvml, LeavesOutAGpuThatIsLost) {
  FakeNvml nvml;
  nvml.num_gpus = 3;
  nvml.index_results[1] = 15;
  const Topology topology = ProbeFake(nvml);
  ASSERT_EQ(topology.gpus.size(), 2u);
  EXPECT_EQ(topology.gpus[1].index, 2);
  EXPECT_EQ(topology.pairs[0].b, 2);
  EXPECT_EQ(topology.notes[0], "GPU 1 cannot be asked: odd");
  nvml.num_gpus = 100000;  // a driver gone mad
  EXPECT_LE(ProbeFake(nvml).gpus.size(), 64u);
}

TEST(ProbeNvml, NotesInstances) {
  FakeNvml nvml;
  const Topology topology = ProbeFake(nvml, [](NvmlApi& api) {
    api.mig_mode = [](NvmlDevice, unsigned* current, unsigned*) {
      *current = 1;
      return kNvmlSuccess;
    };
  });
  EXPECT_EQ(topology.notes[0], "GPU 0 is split into instances (MIG)");
}

// Whatever this machine has, it must not crash.
TEST(Probe, ProbesThisHost) {
  const Topology topology = ProbeTopology();
  EXPECT_GT(topology.num_threads, 0);
  EXPECT_GT(topology.memory_bytes, 0);
  const auto again = TopologyFromText(TopologyDump(topology), "this");
  EXPECT_TRUE(again) << again.error().message;
}

TEST(Energy, CountsJoules) {
  FakeNvml nvml;
  const auto meter = GpuEnergyMeter::Open(nvml.Api());
  ASSERT_NE(meter, nullptr);
  EXPECT_DOUBLE_EQ(meter->Joules(), 10);
  EXPECT_DOUBLE_EQ(meter->Watts(), 151);
  nvml.millijoules = 7500;
  EXPECT_DOUBLE_EQ(meter->Joules(), 15);
  nvml.counts_energy = false;  // a GPU that falls off the bus keeps its last count
  EXPECT_DOUBLE_EQ(meter->Joules(), 15);
}

TEST(Energy, SumsPowerWithoutACounter) {
  FakeNvml nvml;
  nvml.counts_energy = false;
  const auto meter = GpuEnergyMeter::Open(nvml.Api(), std::chrono::milliseconds(1));
  ASSERT_NE(meter, nullptr);
  const auto start = std::chrono::steady_clock::now();
  const double before = meter->Joules();
  while (std::chrono::steady_clock::now() - start < std::chrono::milliseconds(30)) {
  }
  const double joules = meter->Joules() - before;
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  EXPECT_GE(joules, 151 * 0.029);
  EXPECT_LE(joules, 151 * seconds * 1.01);
}

TEST(Energy, IsTrapezoids) {
  PowerIntegral integral;
  integral.Add(10, 100);
  EXPECT_DOUBLE_EQ(integral.joules(), 0);
  integral.Add(12, 200);
  EXPECT_DOUBLE_EQ(integral.joules(), 300);
  integral.Add(11, 1e6);  // time does not go back
  integral.Add(13, 0);
  EXPECT_DOUBLE_EQ(integral.joules(), 400);
}

TEST(Energy, IsNullWithoutGpus) {
  FakeNvml nvml;
  nvml.num_gpus = 0;
  EXPECT_EQ(GpuEnergyMeter::Open(nvml.Api()), nullptr);
  nvml.num_gpus = 1;
  nvml.init_result = 9;
  EXPECT_EQ(GpuEnergyMeter::Open(nvml.Api()), nullptr);
  nvml.init_result = kNvmlSuccess;
  NvmlApi api = nvml.Api();
  api.total_energy = nullptr;
  api.power_usage = nullptr;
  EXPECT_EQ(GpuEnergyMeter::Open(api), nullptr);
}

TEST(HostFiles, CpuLists) {
  EXPECT_EQ(ParseCpuList("0-3,8\n"), (std::vector<int>{0, 1, 2, 3, 8}));
  EXPECT_EQ(FormatCpuList({0, 1, 2, 3, 8}), "0-3,8");
  EXPECT_EQ(FormatCpuList(ParseCpuList("5,4,4-6")), "4-6");
  for (const char* bad : {"", "N/A", "3-1", "-2", "0-99999999", "1,,2", "1x", "1 2"})
    EXPECT_TRUE(ParseCpuList(bad).empty()) << bad;
}

}  // namespace
}  // namespace quire
