#include "net/bridge.hpp"

#include "net/names.hpp"
#include "net/netlink.hpp"
#include "net/sysctl.hpp"

#include <dirent.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <memory>
#include <net/if.h>
#include <netlink/errno.h>
#include <netlink/route/link/bridge.h>

namespace troupe {
namespace {

using netlink::fail_nl;
using netlink::link_ptr;

constexpr uint32_t ethernet_mtu = 1500;

tl::unexpected<error> no_bridge(const std::string& name) {
  return fail(fault::in_use, "The host has a link " + name + " that is no bridge", name);
}

outcome<netlink::nl_addr_ptr> parse_hwaddr(const std::string& text) {
  nl_addr* out = nullptr;
  if (!is_hwaddr(text) || nl_addr_parse(text.c_str(), AF_LLC, &out) < 0)
    return fail(fault::invalid, "The bridge's MAC address is malformed");
  return netlink::nl_addr_ptr{out};
}

outcome<void> create_link(nl_sock* socket, const bridge_plan& plan, nl_addr* hwaddr) {
  link_ptr link{rtnl_link_bridge_alloc()};
  if (!link) return fail(fault::backend_failed, "Cannot allocate a link");
  rtnl_link_set_name(link.get(), plan.name.c_str());
  rtnl_link_set_addr(link.get(), hwaddr);
  // The kernel lets a bridge follow the smallest MTU of its ports until somebody has changed it. A bridge that starts
  // with another MTU than the wanted one is always changed in the next step.
  rtnl_link_set_mtu(link.get(), plan.mtu + 1);
  int rc = rtnl_link_add(socket, link.get(), NLM_F_CREATE | NLM_F_EXCL);
  if (rc < 0 && rc != -NLE_EXIST) return fail_nl(rc, "Cannot create bridge " + plan.name);
  return {};
}

outcome<link_ptr> find_or_create(nl_sock* socket, const bridge_plan& plan, nl_addr* hwaddr) {
  auto found = netlink::find_link(socket, plan.name);
  if (!found) return found;
  if (!*found) {
    if (auto ok = create_link(socket, plan, hwaddr); !ok) return tl::unexpected{ok.error()};
    found = netlink::find_link(socket, plan.name);
    if (!found) return found;
    if (!*found) return fail(fault::backend_failed, "Bridge " + plan.name + " went away", plan.name);
  }
  if (!netlink::is_bridge(found->get())) return no_bridge(plan.name);
  return found;
}

outcome<void> change_link(nl_sock* socket, rtnl_link* found, const bridge_plan& plan, nl_addr* hwaddr) {
  link_ptr change{rtnl_link_alloc()};
  if (!change) return fail(fault::backend_failed, "Cannot allocate a link");
  bool differs = false;
  if (rtnl_link_get_mtu(found) != plan.mtu) {
    rtnl_link_set_mtu(change.get(), plan.mtu);
    differs = true;
  }
  auto* address = rtnl_link_get_addr(found);
  if (address == nullptr || nl_addr_cmp(address, hwaddr) != 0) {
    rtnl_link_set_addr(change.get(), hwaddr);
    differs = true;
  }
  if (!differs) return {};
  if (int rc = rtnl_link_change(socket, found, change.get(), 0); rc < 0)
    return fail_nl(rc, "Cannot change bridge " + plan.name);
  return {};
}

outcome<void> raise_link(nl_sock* socket, rtnl_link* found, const std::string& name) {
  if (rtnl_link_get_flags(found) & IFF_UP) return {};
  link_ptr change{rtnl_link_alloc()};
  if (!change) return fail(fault::backend_failed, "Cannot allocate a link");
  rtnl_link_set_flags(change.get(), IFF_UP);
  if (int rc = rtnl_link_change(socket, found, change.get(), 0); rc < 0)
    return fail_nl(rc, "Cannot bring bridge " + name + " up");
  return {};
}

/// The bridge's addresses of one family except link-local ones, which are the kernel's.
std::vector<cidr> found_addresses(const netlink::cache_ptr& all, int index, int family) {
  std::vector<cidr> out;
  netlink::for_each<rtnl_addr>(all, [&](rtnl_addr* entry) {
    if (rtnl_addr_get_ifindex(entry) != index || rtnl_addr_get_family(entry) != family) return;
    if (rtnl_addr_get_scope(entry) == RT_SCOPE_LINK) return;
    auto value = netlink::from_nl(rtnl_addr_get_local(entry));
    if (value) out.push_back(*value);
  });
  return out;
}

outcome<netlink::addr_ptr> to_rtnl(int index, const cidr& value) {
  netlink::addr_ptr out{rtnl_addr_alloc()};
  auto local = netlink::to_nl(value);
  if (!out || !local) return fail(fault::backend_failed, "Cannot allocate an address");
  rtnl_addr_set_ifindex(out.get(), index);
  if (int rc = rtnl_addr_set_local(out.get(), local.get()); rc < 0) return fail_nl(rc, "Cannot build an address");
  // Detection of duplicates would keep dnsmasq from binding to it, for ever on a bridge that has no port yet.
  if (value.family == AF_INET6) rtnl_addr_set_flags(out.get(), IFA_F_NODAD);
  return out;
}

/// Foreign addresses go first: the kernel deletes IPv4 addresses along with the first one of their subnet.
outcome<void> match_addresses(nl_sock* socket, int index, const std::vector<cidr>& found,
                              const std::string& wanted_text, int family) {
  std::optional<cidr> wanted = parse_cidr(wanted_text, family);
  if (!wanted && !wanted_text.empty()) return fail(fault::invalid, "The bridge's address is malformed");
  bool present = false;
  for (auto& value : found) {
    if (value == wanted) {
      present = true;
      continue;
    }
    auto entry = to_rtnl(index, value);
    if (!entry) return tl::unexpected{entry.error()};
    int rc = rtnl_addr_delete(socket, entry->get(), 0);
    if (rc < 0 && rc != -NLE_NOADDR && !netlink::is_gone(rc)) return fail_nl(rc, "Cannot remove " + cidr_text(value));
  }
  if (!wanted || present) return {};
  auto entry = to_rtnl(index, *wanted);
  if (!entry) return tl::unexpected{entry.error()};
  int rc = rtnl_addr_add(socket, entry->get(), 0);
  if (rc < 0 && rc != -NLE_EXIST) return fail_nl(rc, "Cannot add " + cidr_text(*wanted));
  return {};
}

outcome<void> match_addresses(nl_sock* socket, int index, const bridge_plan& plan) {
  auto all = netlink::dump_addresses(socket);
  if (!all) return tl::unexpected{all.error()};
  auto v4 = found_addresses(*all, index, AF_INET);
  if (auto ok = match_addresses(socket, index, v4, plan.ipv4, AF_INET); !ok) return ok;
  return match_addresses(socket, index, found_addresses(*all, index, AF_INET6), plan.ipv6, AF_INET6);
}

/// Before the link is up, so that the bridge never asks for or takes an address of its own.
outcome<void> prepare_ipv6(const bridge_plan& plan) {
  const std::string base = "ipv6/conf/" + plan.name + "/";
  if (!read_net_sysctl(base + "accept_dad")) {
    if (plan.ipv6.empty()) return {};
    return fail(fault::unsupported, "The host has no IPv6, set \"ipv6.address\" to \"none\"");
  }
  if (!plan.ipv6.empty())
    if (auto ok = set_net_sysctl(base + "disable_ipv6", "0"); !ok) return ok;
  for (auto* key : {"accept_dad", "autoconf", "accept_ra"})
    if (auto ok = set_net_sysctl(base + key, "0"); !ok) return ok;
  return {};
}

/// A host that forwards ignores router advertisements unless told otherwise; without this it would lose its own IPv6.
outcome<void> keep_accepting_advertisements() {
  std::unique_ptr<DIR, int (*)(DIR*)> dir{opendir("/proc/sys/net/ipv6/conf"), closedir};
  if (!dir) return {};
  while (auto* entry = readdir(dir.get())) {
    std::string key = std::string{"ipv6/conf/"} + entry->d_name + "/accept_ra";
    if (entry->d_name[0] == '.' || read_net_sysctl(key) != "1") continue;
    if (auto ok = set_net_sysctl(key, "2"); !ok && read_net_sysctl(key)) return ok;
  }
  return {};
}

outcome<void> enable_forwarding(const bridge_plan& plan) {
  if (!plan.ipv4.empty() && plan.ipv4_routing)
    if (auto ok = set_net_sysctl("ipv4/ip_forward", "1"); !ok) return ok;
  if (plan.ipv6.empty() || !plan.ipv6_routing || read_net_sysctl("ipv6/conf/all/forwarding") == "1") return {};
  if (auto ok = keep_accepting_advertisements(); !ok) return ok;
  return set_net_sysctl("ipv6/conf/all/forwarding", "1");
}

} // namespace

outcome<void> apply_bridge(const bridge_plan& plan) {
  if (!is_interface_name(plan.name)) return fail(fault::invalid, "The bridge's name is malformed");
  auto hwaddr = parse_hwaddr(plan.hwaddr);
  if (!hwaddr) return tl::unexpected{hwaddr.error()};
  auto socket = netlink::open_route_socket();
  if (!socket) return tl::unexpected{socket.error()};
  auto link = find_or_create(socket->get(), plan, hwaddr->get());
  if (!link) return tl::unexpected{link.error()};
  if (auto ok = change_link(socket->get(), link->get(), plan, hwaddr->get()); !ok) return ok;
  if (auto ok = prepare_ipv6(plan); !ok) return ok;
  if (auto ok = match_addresses(socket->get(), rtnl_link_get_ifindex(link->get()), plan); !ok) return ok;
  if (auto ok = raise_link(socket->get(), link->get(), plan.name); !ok) return ok;
  return enable_forwarding(plan);
}

outcome<void> remove_bridge(const std::string& name) {
  if (!is_interface_name(name)) return fail(fault::invalid, "The bridge's name is malformed");
  auto socket = netlink::open_route_socket();
  if (!socket) return tl::unexpected{socket.error()};
  auto link = netlink::find_link(socket->get(), name);
  if (!link) return tl::unexpected{link.error()};
  if (!*link) return {};
  if (!netlink::is_bridge(link->get())) return no_bridge(name);
  int rc = rtnl_link_delete(socket->get(), link->get());
  if (rc < 0 && !netlink::is_gone(rc)) return fail_nl(rc, "Cannot remove bridge " + name);
  return {};
}

} // namespace troupe
