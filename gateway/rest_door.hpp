#pragma once

#include "actors/services.hpp"
#include "gateway/http_server.hpp"
#include "gateway/tls_listeners.hpp"

#include <memory>
#include <string>

namespace troupe {

/// LXD's REST API on a unix socket and, where the configuration says so, on HTTPS: routes, principals, limits. A
/// handler turns a request into a message and a reply into JSON.
class rest_door {
public:
  rest_door(services& with, tls_listeners& listeners, transfers& moves);
  ~rest_door();
  outcome<void> listen(const std::string& unix_socket);
  void stop_listening();

  /// Somebody was let in, here or at another door, by what is worth nothing from then on (seconds since 1970): what he
  /// has open is cut then. Once it listens; any thread.
  void trusts(const std::string& user, int64_t until);

private:
  struct data;
  std::unique_ptr<data> data_;
};

} // namespace troupe
