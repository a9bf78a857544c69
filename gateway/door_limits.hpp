#pragma once

#include "gateway/http_server.hpp"

#include <cstddef>

namespace troupe {

/// How many connections each listener has at once: in all, and from one peer (a host, or a user of this machine). When
/// there are so many, the one that has been idle for longest makes room for the next, in all one of the peer who has
/// most; if none is idle, the next is closed. For longest: so a newcomer has time to ask, however many come behind him.
/// Docs: security.md.
enum class door_kind : uint8_t { rest_unix, rest_tls, bus_unix, bus_tls, metrics, guests };
struct door_limits {
  door_kind which;
  size_t connections, per_peer;
};
constexpr door_limits door_limits_table[] = {
    {door_kind::rest_unix, 4096, 4096}, // of the administrators
    {door_kind::rest_tls, 4096, 2048},  {door_kind::bus_unix, 4096, 4096}, {door_kind::bus_tls, 4096, 2048},
    {door_kind::metrics, 512, 256},     {door_kind::guests, 4096, 64}, // of one instance
};

constexpr const door_limits& limits_of(door_kind which) {
  size_t at = 0;
  while (door_limits_table[at].which != which) ++at;
  return door_limits_table[at];
}

constexpr http_limits http_limits_of(door_kind which) {
  http_limits out;
  out.connections_max = limits_of(which).connections;
  out.connections_per_host = limits_of(which).per_peer;
  out.hosts_are_sockets = which == door_kind::guests;
  return out;
}

} // namespace troupe
