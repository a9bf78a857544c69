#include "net/netlink.hpp"

#include "messages/unique_fd.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <netlink/errno.h>
#include <netlink/msg.h>
#include <netlink/route/route.h>
#include <sched.h>
#include <system_error>
#include <thread>

namespace troupe::netlink {
namespace {

template <class Allocate>
outcome<cache_ptr> dump(const char* what, Allocate&& allocate) {
  nl_cache* cache = nullptr;
  if (int rc = allocate(&cache); rc < 0) return fail_nl(rc, std::string{"Cannot list "} + what);
  return cache_ptr{cache};
}

} // namespace

tl::unexpected<error> fail_nl(int code, std::string what) {
  return fail(is_gone(code) ? fault::not_found : fault::backend_failed, what + ": " + nl_geterror(code));
}

bool is_gone(int code) noexcept { return code == -NLE_OBJ_NOTFOUND || code == -NLE_NODEV; }

outcome<socket_ptr> open_route_socket() {
  socket_ptr socket{nl_socket_alloc()};
  if (!socket) return fail(fault::backend_failed, "Cannot allocate a netlink socket");
  if (int rc = nl_connect(socket.get(), NETLINK_ROUTE); rc < 0) return fail_nl(rc, "Cannot open a netlink socket");
  return socket;
}

outcome<socket_ptr> open_route_socket_of(pid_t leader) {
  unique_fd space{open(("/proc/" + std::to_string(leader) + "/ns/net").c_str(), O_RDONLY | O_CLOEXEC)};
  if (!space) return fail_errno(errno, "Cannot open the network namespace of process " + std::to_string(leader));
  outcome<socket_ptr> socket = fail(fault::internal, "No socket was made");
  // A socket belongs for ever to the namespace it was made in, so only its making has to happen inside: in a thread
  // that ends there. The way back, which could fail and leave a worker in an instance's namespace, is not needed.
  try {
    std::thread{[&] {
      if (setns(space.get(), CLONE_NEWNET) != 0)
        socket = fail_errno(errno, "Cannot enter the network namespace");
      else
        socket = open_route_socket();
    }}.join();
  } catch (const std::system_error&) {
    return fail(fault::backend_failed, "Cannot start a thread to enter an instance's network");
  }
  return socket;
}

outcome<cache_ptr> dump_links(nl_sock* socket) {
  return dump("links", [&](nl_cache** out) { return rtnl_link_alloc_cache(socket, AF_UNSPEC, out); });
}

outcome<cache_ptr> dump_addresses(nl_sock* socket) {
  return dump("addresses", [&](nl_cache** out) { return rtnl_addr_alloc_cache(socket, out); });
}

outcome<cache_ptr> dump_routes(nl_sock* socket) {
  return dump("routes", [&](nl_cache** out) { return rtnl_route_alloc_cache(socket, AF_UNSPEC, 0, out); });
}

outcome<link_ptr> find_link(nl_sock* socket, const std::string& name) {
  rtnl_link* link = nullptr;
  int rc = rtnl_link_get_kernel(socket, 0, name.c_str(), &link);
  if (rc < 0 && !is_gone(rc)) return fail_nl(rc, "Cannot read link " + name);
  return link_ptr{rc < 0 ? nullptr : link};
}

outcome<void> set_alias(nl_sock* socket, int index, const std::string& text) {
  std::unique_ptr<nl_msg, freed_by<nlmsg_free>> request{nlmsg_alloc_simple(RTM_SETLINK, 0)};
  ifinfomsg which{};
  which.ifi_index = index;
  if (!request || nlmsg_append(request.get(), &which, sizeof which, NLMSG_ALIGNTO) < 0 ||
      nla_put_string(request.get(), IFLA_IFALIAS, text.c_str()) < 0)
    return fail(fault::backend_failed, "Cannot allocate a message");
  int rc = nl_send_sync(socket, request.release());
  return rc < 0 ? fail_nl(rc, "Cannot mark a link") : outcome<void>{};
}

bool is_bridge(rtnl_link* link) noexcept {
  const char* type = rtnl_link_get_type(link);
  return type != nullptr && std::strcmp(type, "bridge") == 0;
}

nl_addr_ptr to_nl(const cidr& value) {
  nl_addr_ptr out{nl_addr_build(value.family, value.bytes.data(), value.width() / 8)};
  if (out) nl_addr_set_prefixlen(out.get(), static_cast<int>(value.prefix));
  return out;
}

std::optional<cidr> from_nl(const nl_addr* value) {
  if (value == nullptr) return {};
  cidr out;
  out.family = nl_addr_get_family(value);
  if (out.family != AF_INET && out.family != AF_INET6) return {};
  out.prefix = nl_addr_get_prefixlen(value);
  // A default route has a destination without bytes.
  std::memcpy(out.bytes.data(), nl_addr_get_binary_addr(value), std::min<size_t>(nl_addr_get_len(value), 16));
  return out;
}

} // namespace troupe::netlink
