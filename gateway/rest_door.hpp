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

private:
  struct data;
  std::unique_ptr<data> data_;
};

} // namespace troupe
