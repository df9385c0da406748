#include "bench/startup_bench.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "bench/page_cache.h"

namespace quire {
namespace {

using std::chrono::milliseconds;

// A server that is ready after 100 ms and takes 50 ms for a token, with a child that only the end
// of its group reaches.
constexpr const char* kFakeServer = R"py(
import http.server, subprocess, sys, time
port, mode, pids = int(sys.argv[1]), sys.argv[2], sys.argv[3]
child = subprocess.Popen(["sleep", "300"])
open(pids, "a").write(f"{child.pid}\n")
if mode == "dies":
    print("loading"); sys.exit("no memory left \x1b[31m on the device")
if mode == "hangs":
    time.sleep(300)
ready = time.monotonic() + 0.1
class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self, status, body):
        self.send_response(status); self.send_header("Content-Length", str(len(body)))
        self.end_headers(); self.wfile.write(body)
    def do_GET(self):
        if self.path == "/health":
            self.answer(200 if time.monotonic() > ready else 503, b"")
        else:
            self.answer(200, b'{"data":[{"id":"fake"}]}')
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(0.05)
        self.answer(400 if mode == "refuses" else 200, body if b'"max_tokens":1' in body else b"")
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
)py";

// Owns a folder with the script and the numbers of the processes that it started.
class FakeServerFolder : public testing::Test {
 protected:
  void SetUp() override {
    if (std::system("python3 -c '' >/dev/null 2>&1") != 0) GTEST_SKIP() << "there is no python3";
    std::string name = testing::TempDir() + "quire-startup-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
    std::ofstream(folder_ / "server.py") << kFakeServer;
  }
  void TearDown() override {
    if (!folder_.empty()) std::filesystem::remove_all(folder_);
  }

  StartupOptions Options(const std::string& mode) const {
    StartupOptions options;
    options.command = {"python3", (folder_ / "server.py").string(), "{port}", mode,
                       (folder_ / "pids").string()};
    options.base = Url{"127.0.0.1", 1, ""};
    options.num_iters = 2;
    options.timeout_s = 20;
    return options;
  }

  // The processes that the servers left behind: none is to be alive.
  void ExpectAllGone(std::size_t count) const {
    std::ifstream file(folder_ / "pids");
    std::vector<pid_t> pids;
    for (pid_t pid = 0; file >> pid;) pids.push_back(pid);
    EXPECT_EQ(pids.size(), count);
    for (const pid_t pid : pids) {
      const TimePoint deadline = Now() + std::chrono::seconds(5);
      while (IsAlive(pid) && Now() < deadline) std::this_thread::sleep_for(milliseconds(5));
      EXPECT_FALSE(IsAlive(pid));
    }
  }

  std::filesystem::path folder_;

 private:
  static bool IsAlive(pid_t pid) {
    std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
    std::string text;
    std::getline(stat, text);
    const std::size_t name_end = text.rfind(')');
    return name_end != std::string::npos && text.compare(name_end + 2, 1, "Z") != 0;
  }
};

TEST_F(FakeServerFolder, MeasuresStarts) {
  StartupOptions options = Options("works");
  options.files = {folder_ / "server.py"};
  std::vector<std::string> lines;
  StartupBench bench(options, [&](const std::string& line) { lines.push_back(line); });
  const auto result = bench.Measure();
  ASSERT_TRUE(result) << result.error().message;
  ASSERT_EQ(result->cold.size(), 2u);
  ASSERT_EQ(result->warm.size(), 2u);
  EXPECT_EQ(lines.size(), 4u);
  EXPECT_EQ(result->model, "fake");
  for (const StartupTimes& times : {result->cold[0], result->warm[1]}) {
    EXPECT_GE(times.health_s, 0.1);
    EXPECT_GE(times.first_token_s, times.health_s + 0.05);
    EXPECT_LT(times.first_token_s, 10);
  }
  const Json json = ToJson(*result);
  EXPECT_EQ(json["cold_startup_times"].size(), 2u);
  EXPECT_GE(json["avg_warm_startup_time"].get<double>(), 0.1);
  EXPECT_GE(json["quire"]["avg_cold_first_token_time"].get<double>(), 0.15);
  EXPECT_NE(StartupTable(*result).find("warm first_token_time"), std::string::npos);
  ExpectAllGone(4);
}

TEST_F(FakeServerFolder, AServerThatDiesIsAnErrorWithItsLastLine) {
  StartupBench bench(Options("dies"), [](const std::string&) {});
  const auto result = bench.Measure();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().message.rfind("the server ended with code 1: no memory left", 0), 0u)
      << result.error().message;
  EXPECT_EQ(result.error().message.find('\x1b'), std::string::npos);
  ExpectAllGone(1);
}

TEST_F(FakeServerFolder, AServerThatRefusesOrHangsIsAnError) {
  const auto refused = StartupBench(Options("refuses"), [](const std::string&) {}).Measure();
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("answered 400"), std::string::npos);
  StartupOptions options = Options("hangs");
  options.timeout_s = 2.5;
  const auto late = StartupBench(options, [](const std::string&) {}).Measure();
  ASSERT_FALSE(late);
  EXPECT_NE(late.error().message.find("within 2.5 s"), std::string::npos);
  ExpectAllGone(2);
}

TEST_F(FakeServerFolder, InterruptEndsWhatWasStarted) {
  StartupBench bench(Options("hangs"), [](const std::string&) {});
  std::thread interrupter([&] {
    while (!std::filesystem::exists(folder_ / "pids")) std::this_thread::sleep_for(milliseconds(5));
    bench.Interrupt();
  });
  const auto result = bench.Measure();
  interrupter.join();
  ASSERT_TRUE(result);
  EXPECT_TRUE(result->interrupted);
  EXPECT_TRUE(result->warm.empty());
  ExpectAllGone(1);
}

TEST_F(FakeServerFolder, AProgramThatIsNotThereIsAConfigError) {
  StartupOptions options = Options("works");
  options.command[0] = "/no/such/program";
  const auto result = StartupBench(options, [](const std::string&) {}).Measure();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().kind, ErrorKind::kConfig);
}

TEST(SplitWords, TakesQuotesAndNothingElseOfAShell) {
  EXPECT_EQ(*SplitWords("vllm  serve 'a b' --x=\"c d\"e \t$HOME ''"),
            (std::vector<std::string>{"vllm", "serve", "a b", "--x=c de", "$HOME", ""}));
  EXPECT_TRUE(SplitWords("  ")->empty());
  EXPECT_FALSE(SplitWords("a 'b"));
  EXPECT_FALSE(SplitWords("\""));
}

TEST(PageCache, FindsAFoldersFiles) {
  std::string name = testing::TempDir() + "quire-files-XXXXXX";
  ASSERT_NE(::mkdtemp(name.data()), nullptr);
  const std::filesystem::path folder(name);
  std::ofstream(folder / "b") << "text";
  std::ofstream(folder / "a") << "";
  std::filesystem::create_directory(folder / "c");
  const auto files = FilesOfFolder(folder);
  EXPECT_EQ(files, (std::vector<std::filesystem::path>{folder / "a", folder / "b"}));
  const double share = DropFromPageCache(files);
  EXPECT_TRUE(share >= 0 && share <= 1);
  EXPECT_EQ(DropFromPageCache({}), 0);
  EXPECT_TRUE(FilesOfFolder(folder / "none").empty());
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace quire
