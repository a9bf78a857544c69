#pragma once

#include "actors/services.hpp"
#include "gateway/http_server.hpp"

#include <memory>
#include <string>

namespace troupe {

/// LXD's REST API on a unix socket: routes, principals, limits. A handler turns a request into a message and a reply
/// into JSON.
class rest_door {
public:
  explicit rest_door(services& with);
  ~rest_door();
  outcome<void> listen(const std::string& unix_socket);
  void stop_listening();

private:
  struct data;
  std::unique_ptr<data> data_;
};

} // namespace troupe
