#include "net/proxy/helper/forwarder.hpp"

#include "net/proxy/helper/socket_address.hpp"

#include <algorithm>
#include <cerrno>
#include <memory>
#include <sys/epoll.h>
#include <unistd.h>

namespace troupe::proxy {
namespace {

constexpr size_t buffer_bytes = 32 << 10, datagram_bytes = 64 << 10, sessions_max = 1024, streams_max = 2048;
constexpr uint64_t leader_tag = 2048, signal_tag = 2049; // behind those of listeners, of which there are at most 1,024
constexpr auto session_idle = std::chrono::seconds{60};

/// What one side has sent and the other has not taken.
struct flow {
  std::unique_ptr<char[]> bytes; // while there is something
  size_t begin = 0, end = 0;
  bool finished = false; // no more comes
  bool shut = false;     // and the other side knows

  bool full() const { return end == buffer_bytes; }
  bool empty() const { return begin == end; }
  char* room() {
    if (!bytes) bytes = std::make_unique_for_overwrite<char[]>(buffer_bytes);
    return bytes.get() + end;
  }
  void release_if_empty() {
    if (!empty()) return;
    bytes.reset();
    begin = end = 0;
  }
};

/// False: the connection is broken.
bool fill(flow& it, int from) {
  if (it.finished || it.full()) return true;
  auto n = ::recv(from, it.room(), buffer_bytes - it.end, 0);
  if (n > 0) it.end += static_cast<size_t>(n);
  if (n == 0) it.finished = true;
  return n >= 0 || errno == EAGAIN || errno == EINTR;
}

bool drain(flow& it, int to) {
  if (!it.empty()) {
    auto n = ::send(to, it.bytes.get() + it.begin, it.end - it.begin, MSG_NOSIGNAL);
    if (n < 0) return errno == EAGAIN || errno == EINTR;
    it.begin += static_cast<size_t>(n);
  }
  it.release_if_empty();
  if (it.empty() && it.finished && !it.shut) {
    it.shut = true;
    ::shutdown(to, SHUT_WR);
  }
  return true;
}

std::string address_words(const sockaddr_storage& from, const sockaddr_storage& to) {
  char a[INET6_ADDRSTRLEN] = {}, b[INET6_ADDRSTRLEN] = {};
  if (from.ss_family == AF_INET) {
    auto &x = reinterpret_cast<const sockaddr_in&>(from), &y = reinterpret_cast<const sockaddr_in&>(to);
    ::inet_ntop(AF_INET, &x.sin_addr, a, sizeof a);
    ::inet_ntop(AF_INET, &y.sin_addr, b, sizeof b);
    return std::string{"TCP4 "} + a + " " + b + " " + std::to_string(ntohs(x.sin_port)) + " " +
           std::to_string(ntohs(y.sin_port));
  }
  if (from.ss_family == AF_INET6) {
    auto &x = reinterpret_cast<const sockaddr_in6&>(from), &y = reinterpret_cast<const sockaddr_in6&>(to);
    ::inet_ntop(AF_INET6, &x.sin6_addr, a, sizeof a);
    ::inet_ntop(AF_INET6, &y.sin6_addr, b, sizeof b);
    return std::string{"TCP6 "} + a + " " + b + " " + std::to_string(ntohs(x.sin6_port)) + " " +
           std::to_string(ntohs(y.sin6_port));
  }
  return "UNKNOWN";
}

/// Version 1 of the PROXY header, for who connects to this socket.
std::string header_of(int client) {
  sockaddr_storage from{}, to{};
  socklen_t size = sizeof from;
  ::getpeername(client, reinterpret_cast<sockaddr*>(&from), &size);
  size = sizeof to;
  ::getsockname(client, reinterpret_cast<sockaddr*>(&to), &size);
  return "PROXY " + address_words(from, to) + "\r\n";
}

} // namespace

struct forwarder::stream {
  uint64_t tag = 0;
  unique_fd client, server;
  bool connecting = true;
  flow up, down; // towards the server, towards the client
  clock::time_point last = clock::now();
};

struct forwarder::session {
  uint64_t tag = 0;
  unique_fd server;
  listener* from = nullptr;
  std::string key;
  socket_address client;
  clock::time_point last;
};

forwarder::forwarder(std::vector<listener> listeners, proxy_address to, bool header)
    : listeners_{std::move(listeners)}, to_{std::move(to)}, header_{header}, poll_{::epoll_create1(EPOLL_CLOEXEC)} {
  for (size_t i = 0; i < listeners_.size(); ++i) watch(listeners_[i].socket.get(), EPOLLIN, i, true);
}

forwarder::~forwarder() {
  for (auto& one : listeners_)
    if (one.folder) ::unlinkat(one.folder.get(), one.file.c_str(), 0);
}

void forwarder::watch(int fd, uint32_t events, uint64_t tag, bool fresh) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = tag;
  ::epoll_ctl(poll_.get(), fresh ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &event);
}

/// Without descriptors nobody can be let in; looking again and again would only burn time.
void forwarder::pause_listeners(bool pause) {
  if (paused_ == pause) return;
  paused_ = pause;
  for (size_t i = 0; i < listeners_.size(); ++i)
    watch(listeners_[i].socket.get(), pause ? 0u : uint32_t{EPOLLIN}, i, false);
}

unique_fd forwarder::connect_to(size_t index, bool datagrams) {
  auto address = to_socket_address(to_, index);
  int type = (datagrams ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC | SOCK_NONBLOCK;
  unique_fd socket{::socket(address.get()->sa_family, type, 0)};
  if (socket && ::connect(socket.get(), address.get(), address.size) < 0 && errno != EINPROGRESS) return {};
  return socket;
}

void forwarder::accept_stream(listener& from) {
  unique_fd client{::accept4(from.socket.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)};
  if (!client) {
    if (errno == EMFILE || errno == ENFILE) pause_listeners(true);
    return;
  }
  if (streams_.size() >= streams_max) make_room();
  auto it = std::make_unique<stream>();
  it->server = connect_to(from.index, false);
  if (!it->server) return;
  it->tag = next_;
  next_ += 2; // of the client, and of the server behind it
  if (header_) {
    auto text = header_of(client.get());
    std::copy(text.begin(), text.end(), it->up.room());
    it->up.end = text.size();
  }
  it->client = std::move(client);
  watch(it->client.get(), 0, it->tag, true);
  watch(it->server.get(), EPOLLOUT, it->tag + 1, true);
  streams_.emplace(it->tag, std::move(it));
}

void forwarder::close_stream(stream& it) {
  streams_.erase(it.tag);
  pause_listeners(false);
}

void forwarder::make_room() {
  auto oldest = std::min_element(streams_.begin(), streams_.end(),
                                 [](auto& a, auto& b) { return a.second->last < b.second->last; });
  close_stream(*oldest->second);
}

void forwarder::move_stream(stream& it) {
  it.last = clock::now();
  if (it.connecting) {
    int problem = 0;
    socklen_t size = sizeof problem;
    ::getsockopt(it.server.get(), SOL_SOCKET, SO_ERROR, &problem, &size);
    if (problem != 0) return close_stream(it);
    it.connecting = false;
  }
  int client = it.client.get(), server = it.server.get();
  bool good = fill(it.up, client) && drain(it.up, server) && fill(it.down, server) && drain(it.down, client);
  if (!good || (it.up.shut && it.down.shut)) return close_stream(it);
  auto events = [](const flow& in, const flow& out) {
    return (in.finished || in.full() ? 0u : uint32_t{EPOLLIN}) | (out.empty() ? 0u : uint32_t{EPOLLOUT});
  };
  watch(client, events(it.up, it.down), it.tag, false);
  watch(server, events(it.down, it.up), it.tag + 1, false);
}

void forwarder::accept_datagrams(listener& from) {
  std::array<char, datagram_bytes> part;
  socket_address client;
  client.size = sizeof client.storage;
  auto n = ::recvfrom(from.socket.get(), part.data(), part.size(), 0, reinterpret_cast<sockaddr*>(&client.storage),
                      &client.size);
  if (n < 0) return;
  auto key =
      std::to_string(from.index) + "/" + std::string{reinterpret_cast<const char*>(&client.storage), client.size};
  auto at = clients_.find(key);
  if (at == clients_.end()) {
    auto it = std::make_unique<session>();
    if (sessions_.size() < sessions_max) it->server = connect_to(from.index, true);
    if (!it->server) return;
    it->tag = next_;
    next_ += 2;
    it->from = &from;
    it->key = key;
    it->client = client;
    watch(it->server.get(), EPOLLIN, it->tag, true);
    at = clients_.emplace(key, it->tag).first;
    sessions_.emplace(it->tag, std::move(it));
  }
  auto& it = *sessions_.at(at->second);
  it.last = clock::now();
  static_cast<void>(::send(it.server.get(), part.data(), static_cast<size_t>(n), MSG_NOSIGNAL));
}

void forwarder::move_session(session& it) {
  std::array<char, datagram_bytes> part;
  auto n = ::recv(it.server.get(), part.data(), part.size(), 0);
  if (n < 0) return; // nobody listens there now; perhaps later
  it.last = clock::now();
  static_cast<void>(::sendto(it.from->socket.get(), part.data(), static_cast<size_t>(n), MSG_NOSIGNAL, it.client.get(),
                             it.client.size));
}

/// Milliseconds until the next session has been idle for too long; -1: there is none.
int forwarder::expire() {
  auto now = clock::now();
  auto next = clock::duration::max();
  for (auto at = sessions_.begin(); at != sessions_.end();) {
    auto left = at->second->last + session_idle - now;
    if (left > clock::duration::zero()) {
      next = std::min(next, left);
      ++at;
      continue;
    }
    clients_.erase(at->second->key);
    at = sessions_.erase(at);
  }
  if (sessions_.empty()) return -1;
  return static_cast<int>(std::chrono::duration_cast<std::chrono::milliseconds>(next).count()) + 1;
}

void forwarder::run(int leader, int signals) {
  watch(leader, EPOLLIN, leader_tag, true);
  watch(signals, EPOLLIN, signal_tag, true);
  std::array<epoll_event, 64> events;
  for (;;) {
    int n = ::epoll_wait(poll_.get(), events.data(), static_cast<int>(events.size()), expire());
    if (n < 0 && errno != EINTR) return;
    for (int i = 0; i < n; ++i) {
      auto tag = events[static_cast<size_t>(i)].data.u64;
      if (tag == leader_tag || tag == signal_tag) return;
      if (tag < listeners_.size()) {
        auto& from = listeners_[tag];
        from.datagrams ? accept_datagrams(from) : accept_stream(from);
      } else if (auto at = streams_.find(tag & ~uint64_t{1}); at != streams_.end()) {
        move_stream(*at->second);
      } else if (auto one = sessions_.find(tag); one != sessions_.end()) {
        move_session(*one->second);
      }
    }
  }
}

} // namespace troupe::proxy
