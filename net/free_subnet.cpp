#include "net/free_subnet.hpp"

#include "net/netlink.hpp"

#include <algorithm>
#include <cerrno>
#include <netlink/route/route.h>
#include <sys/random.h>

namespace troupe {
namespace {

bool is_free(const cidr& candidate, const std::vector<cidr>& used) {
  return std::none_of(used.begin(), used.end(), [&](const cidr& other) { return overlap(candidate, other); });
}

outcome<cidr> pick_v4(const std::vector<cidr>& used) {
  uint16_t start = 0;
  if (getrandom(&start, sizeof start, 0) != sizeof start) return fail_errno(errno, "Cannot read random bytes");
  // A random start and then all of them: a free one is found if there is one.
  for (unsigned i = 0; i < 0x10000; ++i) {
    auto number = static_cast<uint16_t>(start + i * 40503u); // odd, so every value comes once
    cidr candidate{AF_INET, 24, {10, static_cast<uint8_t>(number >> 8), static_cast<uint8_t>(number & 0xff), 1}};
    if (is_free(candidate, used)) return candidate;
  }
  return fail(fault::in_use, "Cannot find a free IPv4 subnet in 10.0.0.0/8, set \"ipv4.address\"");
}

outcome<cidr> pick_v6(const std::vector<cidr>& used) {
  constexpr int tries_max = 100;
  for (int i = 0; i < tries_max; ++i) {
    cidr candidate{AF_INET6, 64, {0xfd, 0x42}};
    if (getrandom(&candidate.bytes[2], 6, 0) != 6) return fail_errno(errno, "Cannot read random bytes");
    candidate.bytes[15] = 1;
    if (is_free(candidate, used)) return candidate;
  }
  return fail(fault::in_use, "Cannot find a free IPv6 subnet in fd42::/16, set \"ipv6.address\"");
}

} // namespace

outcome<std::vector<cidr>> host_subnets() {
  auto socket = netlink::open_route_socket();
  if (!socket) return tl::unexpected{socket.error()};
  auto addresses = netlink::dump_addresses(socket->get());
  if (!addresses) return tl::unexpected{addresses.error()};
  auto routes = netlink::dump_routes(socket->get());
  if (!routes) return tl::unexpected{routes.error()};

  std::vector<cidr> out;
  auto add = [&out](const nl_addr* address) {
    auto value = netlink::from_nl(address);
    if (value && value->prefix > 0) out.push_back(network_of(*value));
  };
  netlink::for_each<rtnl_addr>(*addresses, [&](rtnl_addr* entry) {
    add(rtnl_addr_get_local(entry));
    add(rtnl_addr_get_peer(entry)); // the far end of a point-to-point link
  });
  netlink::for_each<rtnl_route>(*routes, [&](rtnl_route* entry) { add(rtnl_route_get_dst(entry)); });
  return out;
}

outcome<cidr> pick_free_subnet(int family, const std::vector<cidr>& used) {
  return family == AF_INET ? pick_v4(used) : pick_v6(used);
}

} // namespace troupe
