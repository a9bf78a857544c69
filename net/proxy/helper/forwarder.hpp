#pragma once

#include "messages/error.hpp"
#include "messages/unique_fd.hpp"
#include "net/proxy_address.hpp"

#include <array>
#include <chrono>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <sys/socket.h>
#include <vector>

namespace troupe::proxy {

struct owner_of_socket {
  unsigned uid = 0, gid = 0, mode = 0644;
};

/// A listening socket; of several ports, which one it is.
struct listener {
  unique_fd socket;
  size_t index = 0;
  bool datagrams = false;
  unique_fd folder; // of a unix socket: where its file is, to be removed at the end
  std::string file;
};
/// In the namespaces that the process is in. A socket's file is made by the root of the user namespace `root`, whose
/// ids `owner` has then; -1: by this process.
outcome<std::vector<listener>> open_listeners(const proxy_address& where, const owner_of_socket& owner, int root);

/// Passes on what comes until a descriptor says that it is over. One thread. There are at most `streams_max`
/// connections (the one that was idle for longest makes room), each with memory only for what is on its way.
class forwarder {
public:
  forwarder(std::vector<listener> listeners, proxy_address to, bool header);
  ~forwarder();
  void run(int leader, int signals);

private:
  struct stream;  // two sockets and what is on its way between them
  struct session; // of datagrams: one client's socket on the other side
  using clock = std::chrono::steady_clock;

  void accept_stream(listener& from);
  void accept_datagrams(listener& from);
  void move_stream(stream& it);
  void move_session(session& it);
  void close_stream(stream& it);
  void make_room();
  void watch(int fd, uint32_t events, uint64_t tag, bool fresh);
  void pause_listeners(bool pause);
  int expire();
  unique_fd connect_to(size_t index, bool datagrams);

  std::vector<listener> listeners_;
  const proxy_address to_;
  const bool header_;
  unique_fd poll_;
  bool paused_ = false;
  uint64_t next_ = 4096; // tags below: listeners, and the two that end it
  std::map<uint64_t, std::unique_ptr<stream>> streams_;
  std::map<uint64_t, std::unique_ptr<session>> sessions_;
  std::map<std::string, uint64_t> clients_; // of datagrams, by listener and address
};

} // namespace troupe::proxy
