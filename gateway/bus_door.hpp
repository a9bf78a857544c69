#pragma once

#include "actors/services.hpp"
#include "gateway/tls_listeners.hpp"

#include <functional>
#include <memory>
#include <string>

namespace troupe {

/// The message bus: Cap'n Proto RPC on a unix socket and, where the configuration says so, on TLS; served by a thread
/// of its own (messages/bus.capnp). A session that breaks the protocol loses its connection; the others do not notice.
class bus_door {
public:
  /// `trusts(user, until)`: somebody was let in by what is worth nothing from then on, in seconds since 1970. On the
  /// bus thread.
  using trusted = std::function<void(const std::string& user, int64_t until)>;
  bus_door(services& with, tls_listeners& listeners, trusted trusts);
  ~bus_door(); // closes all sessions
  outcome<void> listen(const std::string& unix_socket);
  void stop_listening();

private:
  struct data;
  std::unique_ptr<data> data_;
};

} // namespace troupe
