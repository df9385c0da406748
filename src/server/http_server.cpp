#include "server/http_server.h"

#include <algorithm>
#include <asio.hpp>
#include <cerrno>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/log.h"
#include "server/http_connection.h"

namespace quire {
namespace {

using Tcp = asio::ip::tcp;

constexpr std::chrono::milliseconds kAcceptBackoff{50};
constexpr int kMaxRefusals =
    64;  // connections over the limit that are told so; further ones are just closed

// Owns the listening socket, the I/O threads and the register of connections.
class AsioHttpServer final : public HttpServer {
 public:
  AsioHttpServer(HttpService service, int num_threads)
      : service_(std::move(service)),
        io_(std::max(1, num_threads)),
        work_(asio::make_work_guard(io_)),
        strand_(asio::make_strand(io_)),
        acceptor_(strand_),
        backoff_(strand_) {}

  ~AsioHttpServer() override {
    Stop(std::chrono::milliseconds(0));
    work_.reset();
    for (std::thread& thread : threads_) thread.join();
  }

  Status Listen(const std::string& host, int port);
  void Run(int num_threads);

  int port() const override { return port_; }
  int num_connections() const override {
    const std::lock_guard lock(mutex_);
    return static_cast<int>(connections_.size());
  }
  void Stop(std::chrono::milliseconds grace) override;

 private:
  using Connections = std::vector<std::shared_ptr<HttpConnection>>;

  Result<std::vector<Tcp::endpoint>> Resolve(const std::string& host, int port);
  asio::error_code TryListen(const Tcp::endpoint& endpoint);
  void Accept();
  void OnAccept(const asio::error_code& error, HttpConnection::Socket socket);
  void BackOff(const asio::error_code& error);
  void Add(HttpConnection::Socket socket);
  Connections Living() const;
  void Work();

  const HttpService service_;
  asio::io_context io_;
  asio::executor_work_guard<asio::io_context::executor_type> work_;
  HttpConnection::Strand strand_;  // of the acceptor
  asio::basic_socket_acceptor<Tcp, HttpConnection::Strand> acceptor_;
  HttpConnection::Timer backoff_;
  bool backing_off_ = false;
  int port_ = 0;
  std::vector<std::thread> threads_;

  mutable std::mutex mutex_;
  std::condition_variable none_left_;
  bool stopping_ = false;
  std::uint64_t next_connection_ = 0;
  std::unordered_map<std::uint64_t, std::weak_ptr<HttpConnection>> connections_;
};

std::string Named(const std::string& host, int port) {
  const bool ipv6 = host.find(':') != std::string::npos;
  return fmt::format("{}:{}", ipv6 ? "[" + host + "]" : host, port);
}

std::string Lowered(std::string text) {  // strerror's sentences begin with a capital
  if (!text.empty() && text[0] >= 'A' && text[0] <= 'Z') {
    text[0] = static_cast<char>(text[0] - 'A' + 'a');
  }
  return text;
}

Result<std::vector<Tcp::endpoint>> AsioHttpServer::Resolve(const std::string& host, int port) {
  const auto number = static_cast<std::uint16_t>(port);
  asio::error_code error;
  const auto address = asio::ip::make_address(host, error);
  if (!error) return std::vector<Tcp::endpoint>{{address, number}};
  Tcp::resolver resolver(io_);
  std::vector<Tcp::endpoint> endpoints;
  if (!host.empty()) {
    for (const auto& entry : resolver.resolve(host, "", error)) {
      endpoints.emplace_back(entry.endpoint().address(), number);
    }
  }
  if (endpoints.empty()) return ConfigFault("--host: cannot resolve '" + host + "'");
  // Of a name for both, the IPv4 address: that is what clients try when told 127.0.0.1.
  std::stable_partition(endpoints.begin(), endpoints.end(),
                        [](const Tcp::endpoint& e) { return e.address().is_v4(); });
  return endpoints;
}

Status AsioHttpServer::Listen(const std::string& host, int port) {
  if (port < 0 || port > 65535) {
    return ConfigFault(fmt::format("--port: {} is not in [0, 65535]", port));
  }
  auto endpoints = Resolve(host, port);
  if (!endpoints) return endpoints.error();
  asio::error_code first_error;
  for (const Tcp::endpoint& endpoint : *endpoints) {
    const asio::error_code error = TryListen(endpoint);
    if (!error) return {};
    if (!first_error) first_error = error;
  }
  const bool of_host = first_error.value() == EADDRNOTAVAIL || first_error.value() == EAFNOSUPPORT;
  return ConfigFault(fmt::format("{}: cannot listen on {}: {}", of_host ? "--host" : "--port",
                                 Named(host, port), Lowered(first_error.message())));
}

asio::error_code AsioHttpServer::TryListen(const Tcp::endpoint& endpoint) {
  asio::error_code error;
  asio::error_code ignored;
  acceptor_.close(ignored);
  acceptor_.open(endpoint.protocol(), error);
  if (!error) acceptor_.set_option(asio::socket_base::reuse_address(true), error);
  if (!error) acceptor_.bind(endpoint, error);
  if (!error) acceptor_.listen(asio::socket_base::max_listen_connections, error);
  if (!error) port_ = acceptor_.local_endpoint(error).port();
  return error;
}

void AsioHttpServer::Run(int num_threads) {
  asio::post(strand_, [this] { Accept(); });
  for (int i = 0; i < std::max(1, num_threads); ++i) threads_.emplace_back([this] { Work(); });
}

void AsioHttpServer::Work() {
  for (;;) {
    try {
      io_.run();
      return;
    } catch (const std::exception& error) {
      LogError("an HTTP connection failed: {}", error.what());
    }
  }
}

void AsioHttpServer::Accept() {
  if (!acceptor_.is_open()) return;
  acceptor_.async_accept(asio::make_strand(io_),
                         [this](const asio::error_code& error, HttpConnection::Socket socket) {
                           OnAccept(error, std::move(socket));
                         });
}

void AsioHttpServer::OnAccept(const asio::error_code& error, HttpConnection::Socket socket) {
  if (!acceptor_.is_open()) return;
  if (error && error != asio::error::connection_aborted) return BackOff(error);
  if (!error) {
    if (backing_off_) LogInfo("connections are accepted again");
    backing_off_ = false;
    Add(std::move(socket));
  }
  Accept();
}

// Out of file descriptors or memory: accepting at once again would only spin.
void AsioHttpServer::BackOff(const asio::error_code& error) {
  if (!backing_off_) LogWarning("cannot accept a connection: {}", Lowered(error.message()));
  backing_off_ = true;
  backoff_.expires_after(kAcceptBackoff);
  backoff_.async_wait([this](const asio::error_code& cancelled) {
    if (!cancelled) Accept();
  });
}

void AsioHttpServer::Add(HttpConnection::Socket socket) {
  std::shared_ptr<HttpConnection> connection;
  bool refused = false;
  {
    const std::lock_guard lock(mutex_);
    const auto limit = static_cast<std::size_t>(std::max(1, service_.limits.num_connections));
    refused = connections_.size() >= limit;
    if (stopping_ || connections_.size() >= limit + kMaxRefusals) return;  // closes the socket
    const std::uint64_t key = next_connection_++;
    connection = std::make_shared<HttpConnection>(std::move(socket), service_, [this, key] {
      const std::lock_guard gone(mutex_);
      connections_.erase(key);
      if (connections_.empty()) none_left_.notify_all();
    });
    connections_.emplace(key, connection);
  }
  if (refused) {
    connection->Refuse();
  } else {
    connection->Start();
  }
}

AsioHttpServer::Connections AsioHttpServer::Living() const {
  Connections living;  // not dropped under the lock: the last reference takes it
  const std::lock_guard lock(mutex_);
  for (const auto& [key, weak] : connections_) {
    if (auto connection = weak.lock()) living.push_back(std::move(connection));
  }
  return living;
}

void AsioHttpServer::Stop(std::chrono::milliseconds grace) {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  asio::post(strand_, [this] {
    asio::error_code ignored;
    acceptor_.close(ignored);
    backoff_.cancel();
  });
  const auto deadline = std::chrono::steady_clock::now() + grace;
  for (const auto& connection : Living()) connection->Drain();
  {
    std::unique_lock lock(mutex_);
    none_left_.wait_until(lock, deadline, [this] { return connections_.empty(); });
  }
  for (const auto& connection : Living()) connection->Kill();
  std::unique_lock lock(mutex_);
  none_left_.wait(lock, [this] { return connections_.empty(); });
}

}  // namespace

Result<std::unique_ptr<HttpServer>> HttpServer::Start(const HttpServerOptions& options,
                                                      HeadCheck check, Handler handler,
                                                      ErrorBody error_body) {
  auto server = std::make_unique<AsioHttpServer>(
      HttpService{options.limits, std::move(check), std::move(handler), std::move(error_body)},
      options.num_threads);
  QUIRE_RETURN_IF_ERROR(server->Listen(options.host, options.port));
  server->Run(options.num_threads);
  return std::unique_ptr<HttpServer>(std::move(server));
}

}  // namespace quire
