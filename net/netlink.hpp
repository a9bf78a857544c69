#pragma once

#include "messages/error.hpp"
#include "net/cidr.hpp"

#include <memory>
#include <netlink/addr.h>
#include <netlink/cache.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/socket.h>
#include <optional>
#include <string>
#include <sys/types.h>

namespace troupe::netlink {

template <auto Free>
struct freed_by {
  template <class T>
  void operator()(T* object) const {
    Free(object);
  }
};
using socket_ptr = std::unique_ptr<nl_sock, freed_by<nl_socket_free>>;
using cache_ptr = std::unique_ptr<nl_cache, freed_by<nl_cache_free>>;
using link_ptr = std::unique_ptr<rtnl_link, freed_by<rtnl_link_put>>;
using addr_ptr = std::unique_ptr<rtnl_addr, freed_by<rtnl_addr_put>>;
using nl_addr_ptr = std::unique_ptr<nl_addr, freed_by<nl_addr_put>>;

/// A libnl error (negative), as text: "Cannot do X: Object not found".
tl::unexpected<error> fail_nl(int code, std::string what);
/// libnl's two ways to say that a link is not there.
bool is_gone(int code) noexcept;

/// A route socket of the calling thread's network namespace; it stays there when the thread leaves.
outcome<socket_ptr> open_route_socket();
/// One of the network namespace of process `leader`; the calling thread stays where it is.
outcome<socket_ptr> open_route_socket_of(pid_t leader);
/// All links; all addresses; all routes.
outcome<cache_ptr> dump_links(nl_sock* socket);
outcome<cache_ptr> dump_addresses(nl_sock* socket);
outcome<cache_ptr> dump_routes(nl_sock* socket);
/// The link of that name; null: there is none.
outcome<link_ptr> find_link(nl_sock* socket, const std::string& name);
bool is_bridge(rtnl_link* link) noexcept;
/// Sets a link's alias, which libnl reads and does not write.
outcome<void> set_alias(nl_sock* socket, int index, const std::string& text);

nl_addr_ptr to_nl(const cidr& value);
/// Nothing for other families than IPv4 and IPv6.
std::optional<cidr> from_nl(const nl_addr* value);

/// The objects of a cache: for (auto* link : objects<rtnl_link>(cache)).
template <class T, class Use>
void for_each(const cache_ptr& cache, Use&& use) {
  for (auto* object = nl_cache_get_first(cache.get()); object != nullptr; object = nl_cache_get_next(object))
    use(reinterpret_cast<T*>(object));
}

} // namespace troupe::netlink
