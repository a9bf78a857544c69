#include "net/tap.hpp"

#include "net/links.hpp"
#include "net/netlink.hpp"

#include <cerrno>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>

namespace troupe {
namespace {

using netlink::link_ptr;

outcome<void> connect_to_bridge(const nic_link& nic) {
  auto socket = netlink::open_route_socket();
  if (!socket) return tl::unexpected{socket.error()};
  auto bridge = netlink::find_link(socket->get(), nic.parent), tap = netlink::find_link(socket->get(), nic.host_name);
  if (!bridge) return tl::unexpected{bridge.error()};
  if (!tap) return tl::unexpected{tap.error()};
  if (!*bridge) return fail(fault::not_found, "There is no link " + nic.parent, nic.parent);
  if (!*tap) return fail(fault::not_found, "There is no link " + nic.host_name, nic.host_name);
  link_ptr change{rtnl_link_alloc()};
  rtnl_link_set_master(change.get(), rtnl_link_get_ifindex(bridge->get()));
  rtnl_link_set_mtu(change.get(), nic.mtu > 0 ? nic.mtu : rtnl_link_get_mtu(bridge->get()));
  rtnl_link_set_flags(change.get(), IFF_UP);
  if (int rc = rtnl_link_change(socket->get(), tap->get(), change.get(), 0); rc < 0)
    return netlink::fail_nl(rc, "Cannot connect " + nic.host_name + " to " + nic.parent);
  return {};
}

} // namespace

outcome<unique_fd> open_tap(const nic_link& nic) {
  unique_fd tap{open("/dev/net/tun", O_RDWR | O_CLOEXEC)};
  if (!tap) return fail_errno(errno, "Cannot open /dev/net/tun");
  ifreq request{};
  if (nic.host_name.size() >= sizeof request.ifr_name)
    return fail(fault::invalid, "The name of a link has at most 15 characters: " + nic.host_name);
  nic.host_name.copy(request.ifr_name, nic.host_name.size());
  request.ifr_flags = static_cast<short>(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_TUN_EXCL);
  if (ioctl(tap.get(), TUNSETIFF, &request) != 0) {
    if (errno == EBUSY || errno == EINVAL) return fail(fault::already_exists, "There is a link " + nic.host_name);
    return fail_errno(errno, "Cannot make the link " + nic.host_name);
  }
  if (auto marked = mark_link(nic.host_name, nic.mark); !marked) return tl::unexpected{marked.error()};
  if (auto connected = connect_to_bridge(nic); !connected) return tl::unexpected{connected.error()};
  return tap;
}

} // namespace troupe
