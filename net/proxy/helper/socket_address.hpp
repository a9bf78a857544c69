#pragma once

#include "net/cidr.hpp"
#include "net/proxy_address.hpp"

#include <arpa/inet.h>
#include <cstddef>
#include <cstring>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

namespace troupe::proxy {

struct socket_address {
  sockaddr_storage storage{};
  socklen_t size = 0;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

/// The address with its port of that place; with one port, that one.
inline socket_address to_socket_address(const proxy_address& from, size_t index) {
  socket_address out;
  if (from.is_unix()) {
    auto* name = reinterpret_cast<sockaddr_un*>(&out.storage);
    name->sun_family = AF_UNIX;
    bool abstract = from.what == proxy_address::kind::unix_abstract;
    std::memcpy(name->sun_path + (abstract ? 1 : 0), from.host.data(),
                std::min(from.host.size(), sizeof name->sun_path - 1));
    out.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + from.host.size() + 1);
    return out;
  }
  auto port = htons(from.ports.size() == 1 ? from.ports[0] : from.ports.at(index));
  if (from.host.find(':') == from.host.npos) {
    auto* v4 = reinterpret_cast<sockaddr_in*>(&out.storage);
    v4->sin_family = AF_INET;
    v4->sin_port = port;
    ::inet_pton(AF_INET, from.host.c_str(), &v4->sin_addr);
    out.size = sizeof *v4;
  } else {
    auto* v6 = reinterpret_cast<sockaddr_in6*>(&out.storage);
    v6->sin6_family = AF_INET6;
    v6->sin6_port = port;
    ::inet_pton(AF_INET6, from.host.c_str(), &v6->sin6_addr);
    out.size = sizeof *v6;
  }
  return out;
}

} // namespace troupe::proxy
