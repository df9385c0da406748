// An OpenAI-compatible server whose answers come at known times: the truth that the load generator
// is measured against. No model: a token is a word. One thread.
//   stub_openai_server --port 0 --ttft-ms 50 --tpot-ms 10 [--ttft-sigma S] [--tpot-sigma S]
//     [--seed N] [--tokens-per-event N] [--max-tokens N] [--model NAME] [--truth FILE]
// Prints "port N"; SIGTERM or SIGINT ends it and writes the truth.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <queue>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/json.h"
#include "net/http_request_parser.h"
#include "stub_openai_answer.h"

namespace quire {
namespace {

constexpr double kMaxTokens = 1e6;
constexpr int kBurst = 64;  // events that are sent before sockets are looked at again

// Owns one client's socket, its unfinished request and its unsent bytes.
struct StubConnection {
  explicit StubConnection(int socket) : fd(socket) {}
  ~StubConnection() { ::close(fd); }
  StubConnection(const StubConnection&) = delete;
  StubConnection& operator=(const StubConnection&) = delete;

  int fd;
  std::uint64_t number = 0;
  std::unique_ptr<HttpRequestParser> parser = std::make_unique<HttpRequestParser>(HttpWireLimits{});
  HttpRequestHead head;
  bool in_body = false;
  std::string body;
  std::string unsent;
  std::unique_ptr<StubAnswer> answer;
};

// Owns everything.
class StubServer {
 public:
  explicit StubServer(const StubOptions& options) : options_(options) {}
  int Run();

 private:
  bool Listen();
  void Accept();
  void Read(StubConnection& connection);
  bool TakeRequest(StubConnection& connection, std::string_view* bytes);
  void Route(StubConnection& connection);
  void Generate(StubConnection& connection, const Json& request, bool chat);
  int PromptTokens(const Json& request, bool chat, std::string* tag);
  void Tokenize(StubConnection& connection, const Json& request);
  void Detokenize(StubConnection& connection, const Json& request);
  bool SendDue(int limit);
  void SendEvent(StubConnection& connection, std::size_t event);
  std::string MetricsText() const;
  void Reply(StubConnection& connection, int status, std::string_view body,
             std::string_view type = "application/json");
  void Write(StubConnection& connection, std::string_view bytes);
  void Flush(StubConnection& connection);
  void Watch(StubConnection& connection, bool is_new);
  void Close(StubConnection& connection);
  void Finish(StubConnection& connection);
  void ArmTimer();
  void WriteTruth();
  double NowS() const { return Seconds(Now() - start_); }

  struct Due {
    double time_s;
    std::uint64_t connection;
    std::size_t event;
    bool operator<(const Due& other) const { return time_s > other.time_s; }
  };

  StubOptions options_;
  TimePoint start_ = Now();
  StubVocabulary words_;
  int epoll_ = -1, listener_ = -1, timer_ = -1, signals_ = -1;
  double event_s_ = 0;                 // when the sockets being read were seen to be readable
  std::uint64_t next_connection_ = 8;  // below: the descriptors above
  std::uint64_t next_answer_ = 0;
  int num_running_ = 0;
  std::map<std::uint64_t, std::unique_ptr<StubConnection>> connections_;
  std::priority_queue<Due> due_;
  std::vector<std::unique_ptr<StubAnswer>> finished_;
};

int StubServer::Run() {
  if (!Listen()) return 1;
  std::printf("port %d\n", options_.port);
  std::fflush(stdout);
  std::array<epoll_event, 64> events;
  while (true) {
    const bool more_due = SendDue(kBurst);
    ArmTimer();
    const int n =
        ::epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), more_due ? 0 : -1);
    event_s_ = NowS();
    for (int i = 0; i < n; ++i) {
      const epoll_event& event = events[static_cast<std::size_t>(i)];
      std::uint64_t ignored = 0;
      if (event.data.u64 == 0) {
        Accept();
      } else if (event.data.u64 == 1) {
        [[maybe_unused]] const auto got = ::read(timer_, &ignored, sizeof ignored);
      } else if (event.data.u64 == 2) {
        WriteTruth();
        return 0;
      } else if (const auto found = connections_.find(event.data.u64);
                 found != connections_.end()) {
        StubConnection& connection = *found->second;
        if ((event.events & EPOLLOUT) != 0) Flush(connection);
        if ((event.events & ~std::uint32_t{EPOLLOUT}) != 0) Read(connection);
      }
      SendDue(1);
    }
  }
}

bool StubServer::Listen() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  sigset_t ending;
  sigemptyset(&ending);
  sigaddset(&ending, SIGTERM);
  sigaddset(&ending, SIGINT);
  ::sigprocmask(SIG_BLOCK, &ending, nullptr);
  epoll_ = ::epoll_create1(EPOLL_CLOEXEC);
  listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  timer_ = ::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  signals_ = ::signalfd(-1, &ending, SFD_NONBLOCK | SFD_CLOEXEC);
  const int on = 1;
  ::setsockopt(listener_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<std::uint16_t>(options_.port));
  socklen_t size = sizeof address;
  auto* raw = reinterpret_cast<sockaddr*>(&address);
  if (::bind(listener_, raw, size) != 0 || ::listen(listener_, 4096) != 0 ||
      ::getsockname(listener_, raw, &size) != 0) {
    std::fprintf(stderr, "stub: cannot listen: %s\n", std::strerror(errno));
    return false;
  }
  options_.port = ntohs(address.sin_port);
  std::uint64_t number = 0;
  for (const int fd : {listener_, timer_, signals_}) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = number++;
    ::epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event);
  }
  return true;
}

void StubServer::Accept() {
  while (true) {
    const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    const int on = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    auto connection = std::make_unique<StubConnection>(fd);
    connection->number = next_connection_++;
    Watch(*connection, true);
    connections_.emplace(connection->number, std::move(connection));
  }
}

void StubServer::Watch(StubConnection& connection, bool is_new) {
  epoll_event event{};
  event.events = EPOLLIN | (connection.unsent.empty() ? 0U : std::uint32_t{EPOLLOUT});
  event.data.u64 = connection.number;
  ::epoll_ctl(epoll_, is_new ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, connection.fd, &event);
}

void StubServer::Read(StubConnection& connection) {
  std::array<char, 65536> buffer;
  const ssize_t n = ::recv(connection.fd, buffer.data(), buffer.size(), 0);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0) return Close(connection);
  std::string_view bytes(buffer.data(), static_cast<std::size_t>(n));
  while (!bytes.empty()) {
    if (!TakeRequest(connection, &bytes)) return Close(connection);
  }
}

// False: not HTTP, or a second request before the first one's answer.
bool StubServer::TakeRequest(StubConnection& connection, std::string_view* bytes) {
  if (connection.answer) return false;
  if (!connection.in_body) {
    bytes->remove_prefix(connection.parser->Feed(*bytes));
    if (connection.parser->fault()) return false;
    if (!connection.parser->done()) return true;
    connection.head = connection.parser->Take();
    if (connection.head.chunked) return false;
    connection.in_body = true;
  }
  const auto left =
      static_cast<std::size_t>(connection.head.content_length) - connection.body.size();
  connection.body.append(bytes->substr(0, left));
  bytes->remove_prefix(std::min(left, bytes->size()));
  if (connection.body.size() < connection.head.content_length) return true;
  Route(connection);
  connection.parser = std::make_unique<HttpRequestParser>(HttpWireLimits{});
  connection.in_body = false;
  connection.body.clear();
  return true;
}

void StubServer::Route(StubConnection& connection) {
  const std::string& path = connection.head.head.path;
  if (path == "/health") return Reply(connection, 200, "");
  if (path == "/metrics") return Reply(connection, 200, MetricsText(), "text/plain");
  if (path == "/v1/models") {
    const Json model = {{"id", options_.model},
                        {"object", "model"},
                        {"owned_by", "stub"},
                        {"max_model_len", 1 << 20}};
    return Reply(connection, 200, WriteJson({{"object", "list"}, {"data", Json::array({model})}}));
  }
  const bool chat = path == "/v1/chat/completions";
  if (!chat && path != "/v1/completions" && path != "/tokenize" && path != "/detokenize") {
    return Reply(connection, 404, R"({"error":{"message":"no such path"}})");
  }
  const auto request = ParseJson(connection.body);
  if (!request || !request->is_object()) {
    return Reply(connection, 400, R"({"error":{"message":"the body is not a JSON object"}})");
  }
  if (path == "/tokenize") return Tokenize(connection, *request);
  if (path == "/detokenize") return Detokenize(connection, *request);
  Generate(connection, *request, chat);
}

double NumberOf(const Json& json, const char* name, double otherwise) {
  const auto found = json.find(name);
  return found != json.end() && found->is_number() ? found->get<double>() : otherwise;
}

std::string StringOf(const Json& json, const char* name) {
  const auto found = json.find(name);
  return found != json.end() && found->is_string() ? found->get<std::string>() : std::string();
}

int StubServer::PromptTokens(const Json& request, bool chat, std::string* tag) {
  std::string text;
  if (chat) {
    const auto messages = request.find("messages");
    if (messages == request.end() || !messages->is_array()) return 0;
    for (const Json& message : *messages) {
      if (message.is_object()) text += (text.empty() ? "" : " ") + StringOf(message, "content");
    }
  } else if (const auto prompt = request.find("prompt");
             prompt != request.end() && prompt->is_array()) {
    if (!prompt->empty() && prompt->front().is_number_integer()) {
      *tag = std::to_string(prompt->front().get<std::int64_t>());
    }
    return static_cast<int>(prompt->size());
  } else {
    text = StringOf(request, "prompt");
  }
  const std::size_t start = std::min(text.find_first_not_of(' '), text.size());
  *tag = text.substr(start, std::min(text.find(' ', start), text.size()) - start);
  return static_cast<int>(words_.Encode(text).size());
}

void StubServer::Generate(StubConnection& connection, const Json& request, bool chat) {
  auto answer = std::make_unique<StubAnswer>();
  answer->id = (chat ? "chatcmpl-" : "cmpl-") + std::to_string(next_answer_++);
  answer->chat = chat;
  answer->prompt_tokens = PromptTokens(request, chat, &answer->tag);
  double max_tokens = NumberOf(request, "max_tokens", options_.max_tokens);
  max_tokens = NumberOf(request, "max_completion_tokens", max_tokens);
  answer->num_tokens = static_cast<int>(std::clamp(max_tokens, 1.0, kMaxTokens));
  const auto stream = request.find("stream");
  answer->stream = stream != request.end() && *stream == true;
  if (const auto options = request.find("stream_options");
      options != request.end() && options->is_object()) {
    answer->usage = options->contains("include_usage") && (*options)["include_usage"] == true;
  }
  answer->arrival_s = event_s_;
  answer->Plan(options_);
  ++num_running_;
  if (answer->stream) {
    Write(connection,
          "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
          "Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n");
  }
  const std::size_t first = answer->stream ? 0 : answer->due_s.size() - 1;
  due_.push({answer->arrival_s + answer->due_s[first], connection.number, first});
  connection.answer = std::move(answer);
}

void StubServer::Tokenize(StubConnection& connection, const Json& request) {
  const std::vector<int> ids = words_.Encode(StringOf(request, "prompt"));
  Reply(connection, 200,
        WriteJson({{"count", ids.size()}, {"max_model_len", 1 << 20}, {"tokens", ids}}));
}

void StubServer::Detokenize(StubConnection& connection, const Json& request) {
  std::string text;
  const auto ids = request.find("tokens");
  bool known = ids != request.end() && ids->is_array();
  for (std::size_t i = 0; known && i < ids->size(); ++i) {
    const double id = (*ids)[i].is_number_integer() ? (*ids)[i].get<double>() : -1;
    known = id < 1e9 && words_.Decode(static_cast<int>(id), &text);
  }
  if (!known) return Reply(connection, 400, R"({"error":{"message":"no such token"}})");
  Reply(connection, 200, WriteJson({{"prompt", text}}));
}

// True: there is more to send, which must not keep requests waiting.
bool StubServer::SendDue(int limit) {
  for (int i = 0; !due_.empty() && due_.top().time_s <= NowS(); ++i) {
    if (i == limit) return true;
    const Due due = due_.top();
    due_.pop();
    const auto found = connections_.find(due.connection);
    if (found == connections_.end()) continue;
    SendEvent(*found->second, due.event);
  }
  return false;
}

void StubServer::SendEvent(StubConnection& connection, std::size_t event) {
  StubAnswer& answer = *connection.answer;
  answer.late_s.push_back(static_cast<float>(NowS() - answer.arrival_s - answer.due_s[event]));
  if (!answer.stream) {
    Reply(connection, 200, WriteJson(answer.Whole(options_)));
    return Finish(connection);
  }
  const bool last = event + 1 == answer.due_s.size();
  if (!last) {
    due_.push({answer.arrival_s + answer.due_s[event + 1], connection.number, event + 1});
  }
  Write(connection, answer.EventBytes(options_, event));
  if (last) Finish(connection);
}

std::string StubServer::MetricsText() const {
  const std::string label = "{model_name=\"" + options_.model + "\"} ";
  const double usage = std::min(1.0, num_running_ / 1000.0);
  return "# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running" + label +
         std::to_string(num_running_) +
         "\n# TYPE vllm:num_requests_waiting gauge\nvllm:num_requests_waiting" + label +
         "0\n# TYPE vllm:kv_cache_usage_perc gauge\nvllm:kv_cache_usage_perc" + label +
         std::to_string(usage) + "\n";
}

void StubServer::Reply(StubConnection& connection, int status, std::string_view body,
                       std::string_view type) {
  std::string out = "HTTP/1.1 " + std::to_string(status) + (status == 200 ? " OK" : " Error");
  out.append("\r\nContent-Type: ").append(type).append("\r\nContent-Length: ");
  out.append(std::to_string(body.size())).append("\r\n\r\n").append(body);
  Write(connection, out);
}

void StubServer::Write(StubConnection& connection, std::string_view bytes) {
  if (connection.unsent.empty()) {
    const ssize_t n = ::send(connection.fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n > 0) bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  if (bytes.empty()) return;  // a connection that broke is seen when it is read
  connection.unsent.append(bytes);
  Watch(connection, false);
}

void StubServer::Flush(StubConnection& connection) {
  const ssize_t n =
      ::send(connection.fd, connection.unsent.data(), connection.unsent.size(), MSG_NOSIGNAL);
  if (n > 0) connection.unsent.erase(0, static_cast<std::size_t>(n));
  if (connection.unsent.empty()) Watch(connection, false);
}

void StubServer::Close(StubConnection& connection) {
  if (connection.answer) {
    connection.answer->aborted = true;
    Finish(connection);
  }
  connections_.erase(connection.number);
}

void StubServer::Finish(StubConnection& connection) {
  --num_running_;
  finished_.push_back(std::move(connection.answer));
}

void StubServer::ArmTimer() {
  if (due_.empty()) return;
  const auto at =
      (start_.time_since_epoch() + std::chrono::duration_cast<std::chrono::nanoseconds>(
                                       std::chrono::duration<double>(due_.top().time_s)))
          .count();
  itimerspec spec{};
  spec.it_value.tv_sec = static_cast<time_t>(at / 1'000'000'000);
  spec.it_value.tv_nsec = static_cast<long>(at % 1'000'000'000) | 1;
  ::timerfd_settime(timer_, TFD_TIMER_ABSTIME, &spec, nullptr);
}

// Unfinished answers count as aborted.
void StubServer::WriteTruth() {
  if (options_.truth.empty()) return;
  for (const auto& [number, connection] : connections_) {
    if (!connection->answer) continue;
    connection->answer->aborted = true;
    finished_.push_back(std::move(connection->answer));
  }
  std::ofstream(options_.truth) << WriteJson(StubTruth(finished_)) << "\n";
}

bool ReadOptions(int argc, char** argv, StubOptions* options) {
  const std::map<std::string, double*> reals = {{"--ttft-ms", &options->ttft_ms},
                                                {"--tpot-ms", &options->tpot_ms},
                                                {"--ttft-sigma", &options->ttft_sigma},
                                                {"--tpot-sigma", &options->tpot_sigma}};
  const std::map<std::string, int*> integers = {{"--port", &options->port},
                                                {"--tokens-per-event", &options->tokens_per_event},
                                                {"--max-tokens", &options->max_tokens}};
  for (int i = 1; i < argc; i += 2) {
    const std::string name = argv[i];
    const char* value = i + 1 < argc ? argv[i + 1] : "";
    if (*value == '\0') return false;
    if (const auto real = reals.find(name); real != reals.end()) {
      *real->second = std::strtod(value, nullptr);
    } else if (const auto integer = integers.find(name); integer != integers.end()) {
      *integer->second = std::atoi(value);
    } else if (name == "--seed") {
      options->seed = std::strtoull(value, nullptr, 10);
    } else if (name == "--model") {
      options->model = value;
    } else if (name == "--truth") {
      options->truth = value;
    } else {
      return false;
    }
  }
  return options->ttft_ms >= 0 && options->tpot_ms >= 0 && options->tokens_per_event > 0;
}

}  // namespace
}  // namespace quire

int main(int argc, char** argv) {
  quire::StubOptions options;
  if (!quire::ReadOptions(argc, argv, &options)) {
    std::fprintf(stderr, "stub_openai_server: bad flags; see the head of its source\n");
    return 2;
  }
  return quire::StubServer(options).Run();
}
