#include "net/nic.hpp"

#include "messages/unique_fd.hpp"
#include "net/links.hpp"
#include "net/names.hpp"
#include "net/netlink.hpp"
#include "net/sysctl.hpp"
#include "net/vlan.hpp"

#include <algorithm>
#include <fcntl.h>
#include <fstream>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/errno.h>
#include <netlink/route/link/ipvlan.h>
#include <netlink/route/link/macvlan.h>
#include <netlink/route/link/veth.h>
#include <netlink/route/neighbour.h>
#include <netlink/route/nexthop.h>
#include <netlink/route/qdisc.h>
#include <netlink/route/qdisc/tbf.h>
#include <netlink/route/route.h>
#include <unistd.h>

namespace troupe {
namespace {

using netlink::fail_nl;
using netlink::link_ptr;
using route_ptr = std::unique_ptr<rtnl_route, netlink::freed_by<rtnl_route_put>>;
using neigh_ptr = std::unique_ptr<rtnl_neigh, netlink::freed_by<rtnl_neigh_put>>;
using qdisc_ptr = std::unique_ptr<rtnl_qdisc, netlink::freed_by<rtnl_qdisc_put>>;

// By this our routes on the host are told from those of the kernel and of others.
constexpr uint8_t route_protocol = 116;
constexpr uint64_t burst_min = 64 << 10, rate_max = INT32_MAX; // bytes; libnl's numbers are ints

outcome<link_ptr> need_link(nl_sock* socket, const std::string& name) {
  auto link = netlink::find_link(socket, name);
  if (link && !*link) return fail(fault::not_found, "There is no link " + name, name);
  return link;
}

outcome<void> set_hwaddr(rtnl_link* link, const std::string& hwaddr) {
  if (hwaddr.empty()) return {};
  nl_addr* out = nullptr;
  if (!is_hwaddr(hwaddr) || nl_addr_parse(hwaddr.c_str(), AF_LLC, &out) < 0)
    return fail(fault::invalid, "The MAC address " + hwaddr + " is malformed");
  netlink::nl_addr_ptr address{out};
  rtnl_link_set_addr(link, out);
  return {};
}

outcome<void> fill_inside(rtnl_link* link, const nic_link& nic, pid_t leader) {
  rtnl_link_set_name(link, nic.name.c_str());
  if (nic.mtu > 0) rtnl_link_set_mtu(link, nic.mtu);
  rtnl_link_set_ns_pid(link, leader);
  return set_hwaddr(link, nic.hwaddr);
}

outcome<void> add_veth(nl_sock* socket, const nic_link& nic, pid_t leader) {
  link_ptr pair{rtnl_link_veth_alloc()};
  if (!pair) return fail(fault::backend_failed, "Cannot allocate a link");
  rtnl_link_set_name(pair.get(), nic.host_name.c_str());
  uint32_t mtu = nic.mtu;
  if (nic.what == nic_link::kind::bridged) {
    auto bridge = need_link(socket, nic.parent);
    if (!bridge) return tl::unexpected{bridge.error()};
    rtnl_link_set_master(pair.get(), rtnl_link_get_ifindex(bridge->get()));
    if (mtu == 0) mtu = rtnl_link_get_mtu(bridge->get());
  }
  if (mtu > 0) rtnl_link_set_mtu(pair.get(), mtu);
  link_ptr inside{rtnl_link_veth_get_peer(pair.get())};
  auto card = nic;
  card.mtu = mtu;
  if (auto done = fill_inside(inside.get(), card, leader); !done) return done;
  if (int rc = rtnl_link_add(socket, pair.get(), NLM_F_CREATE | NLM_F_EXCL); rc < 0)
    return fail_nl(rc, "Cannot make the card " + nic.name + " (" + nic.host_name + " on the host)");
  return {};
}

outcome<void> add_macvlan(nl_sock* socket, const nic_link& nic, pid_t leader) {
  auto parent = need_link(socket, nic.parent);
  if (!parent) return tl::unexpected{parent.error()};
  link_ptr card{rtnl_link_macvlan_alloc()};
  if (!card) return fail(fault::backend_failed, "Cannot allocate a link");
  rtnl_link_set_link(card.get(), rtnl_link_get_ifindex(parent->get()));
  rtnl_link_macvlan_set_mode(card.get(), rtnl_link_macvlan_str2mode("bridge"));
  if (auto done = fill_inside(card.get(), nic, leader); !done) return done;
  if (int rc = rtnl_link_add(socket, card.get(), NLM_F_CREATE | NLM_F_EXCL); rc < 0)
    return fail_nl(rc, "Cannot make the card " + nic.name + " on " + nic.parent);
  return {};
}

outcome<void> add_ipvlan(nl_sock* socket, const nic_link& nic, pid_t leader) {
  auto parent = need_link(socket, nic.parent);
  if (!parent) return tl::unexpected{parent.error()};
  link_ptr card{rtnl_link_ipvlan_alloc()};
  if (!card) return fail(fault::backend_failed, "Cannot allocate a link");
  rtnl_link_set_link(card.get(), rtnl_link_get_ifindex(parent->get()));
  // libnl's names of the modes are older than l3s.
  rtnl_link_ipvlan_set_mode(card.get(), nic.mode == "l2" ? IPVLAN_MODE_L2 : IPVLAN_MODE_L3S);
  if (auto done = fill_inside(card.get(), nic, leader); !done) return done;
  int rc = rtnl_link_add(socket, card.get(), NLM_F_CREATE | NLM_F_EXCL);
  if (rc == -NLE_OPNOTSUPP) return fail(fault::unsupported, "The kernel of this host has no ipvlan");
  return rc < 0 ? fail_nl(rc, "Cannot make the card " + nic.name + " on " + nic.parent) : outcome<void>{};
}

outcome<void> move_in(nl_sock* socket, const nic_link& nic, pid_t leader) {
  auto card = need_link(socket, nic.parent);
  if (!card) return tl::unexpected{card.error()};
  link_ptr change{rtnl_link_alloc()};
  rtnl_link_set_name(change.get(), nic.name.c_str());
  rtnl_link_set_ns_pid(change.get(), leader);
  if (int rc = rtnl_link_change(socket, card->get(), change.get(), 0); rc < 0)
    return fail_nl(rc, "Cannot move " + nic.parent + " into the instance");
  return {};
}

outcome<void> raise(nl_sock* socket, const std::string& name) {
  auto link = need_link(socket, name);
  if (!link) return tl::unexpected{link.error()};
  link_ptr change{rtnl_link_alloc()};
  rtnl_link_set_flags(change.get(), IFF_UP);
  if (int rc = rtnl_link_change(socket, link->get(), change.get(), 0); rc < 0)
    return fail_nl(rc, "Cannot bring up " + name);
  return {};
}

std::optional<cidr> parse_network(const std::string& text) {
  auto with_prefix = parse_cidr(text);
  return with_prefix ? with_prefix : parse_ip(text);
}

outcome<void> add_address(nl_sock* socket, int index, const std::string& text) {
  auto value = parse_network(text);
  if (!value) return fail(fault::invalid, "Malformed address: " + text);
  netlink::addr_ptr entry{rtnl_addr_alloc()};
  auto local = netlink::to_nl(*value);
  rtnl_addr_set_ifindex(entry.get(), index);
  rtnl_addr_set_local(entry.get(), local.get());
  if (value->family == AF_INET6) rtnl_addr_set_flags(entry.get(), IFA_F_NODAD);
  int rc = rtnl_addr_add(socket, entry.get(), NLM_F_REPLACE);
  if (rc < 0 && rc != -NLE_EXIST) return fail_nl(rc, "Cannot set the address " + text);
  return {};
}

/// `via` empty: to whoever is on the link.
outcome<route_ptr> make_route(const std::string& to, const std::string& via, int index, uint32_t table,
                              uint8_t protocol) {
  auto target = parse_network(to);
  if (!target) return fail(fault::invalid, "Malformed subnet: " + to);
  route_ptr route{rtnl_route_alloc()};
  rtnl_route_set_family(route.get(), static_cast<uint8_t>(target->family));
  auto destination = netlink::to_nl(*target);
  rtnl_route_set_dst(route.get(), destination.get());
  rtnl_route_set_table(route.get(), table);
  rtnl_route_set_protocol(route.get(), protocol);
  rtnl_route_set_scope(route.get(), via.empty() && target->family == AF_INET ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE);
  auto* hop = rtnl_route_nh_alloc();
  rtnl_route_nh_set_ifindex(hop, index);
  if (auto gateway = parse_ip(via)) rtnl_route_nh_set_gateway(hop, netlink::to_nl(*gateway).get());
  rtnl_route_add_nexthop(route.get(), hop); // takes it
  return route;
}

/// Inside an instance, where all routes are its own.
outcome<void> set_route(nl_sock* socket, const std::string& to, const std::string& via, int index) {
  auto route = make_route(to, via, index, RT_TABLE_MAIN, RTPROT_STATIC);
  if (!route) return tl::unexpected{route.error()};
  int rc = rtnl_route_add(socket, route->get(), NLM_F_REPLACE);
  if (rc < 0 && rc != -NLE_EXIST) return fail_nl(rc, "Cannot set the route to " + to);
  return {};
}

outcome<bool> has_route(nl_sock* socket, rtnl_route* wanted) {
  auto routes = netlink::dump_routes(socket);
  if (!routes) return tl::unexpected{routes.error()};
  auto link_of = [](rtnl_route* route) {
    return rtnl_route_get_nnexthops(route) == 1 ? rtnl_route_nh_get_ifindex(rtnl_route_nexthop_n(route, 0)) : 0;
  };
  bool found = false;
  netlink::for_each<rtnl_route>(*routes, [&](rtnl_route* route) {
    found = found || (rtnl_route_get_table(route) == rtnl_route_get_table(wanted) &&
                      rtnl_route_get_protocol(route) == route_protocol && link_of(route) == link_of(wanted) &&
                      nl_addr_cmp(rtnl_route_get_dst(route), rtnl_route_get_dst(wanted)) == 0);
  });
  return found;
}

/// On the host, where a route that is there already is somebody's.
outcome<void> add_route(nl_sock* socket, const std::string& to, int index, uint32_t table = RT_TABLE_MAIN) {
  auto route = make_route(to, "", index, table, route_protocol);
  if (!route) return tl::unexpected{route.error()};
  int rc = rtnl_route_add(socket, route->get(), NLM_F_CREATE | NLM_F_EXCL);
  if (rc == -NLE_EXIST) {
    auto ours = has_route(socket, route->get());
    if (!ours) return tl::unexpected{ours.error()};
    return *ours ? outcome<void>{} : fail(fault::already_exists, "The host has another route to " + to, to);
  }
  return rc < 0 ? fail_nl(rc, "Cannot set the route to " + to) : outcome<void>{};
}

/// What is routed to an instance must not be where the host itself, or another network, is.
outcome<void> check_routes(nl_sock* socket, const std::vector<std::string>& routes) {
  auto addresses = netlink::dump_addresses(socket);
  if (!addresses) return tl::unexpected{addresses.error()};
  outcome<void> good;
  for (auto& text : routes) {
    auto wanted = parse_network(text);
    if (!wanted || wanted->prefix == 0)
      return fail(fault::invalid, "The host does not route " + text + " to an instance");
    netlink::for_each<rtnl_addr>(*addresses, [&](rtnl_addr* entry) {
      auto there = netlink::from_nl(rtnl_addr_get_local(entry));
      if (good && there && there->family == wanted->family && overlap(*there, *wanted))
        good = fail(fault::invalid, "The route to " + text + " overlaps with " + cidr_text(network_of(*there)) +
                                        ", a network of the host");
    });
  }
  return good;
}

outcome<void> set_up_inside(const nic_link& nic, pid_t leader) {
  auto socket = netlink::open_route_socket_of(leader);
  if (!socket) return tl::unexpected{socket.error()};
  if (auto up = raise(socket->get(), nic.name); !up) return up;
  auto link = need_link(socket->get(), nic.name);
  if (!link) return tl::unexpected{link.error()};
  int index = rtnl_link_get_ifindex(link->get());
  outcome<void> done;
  for (auto& address : nic.addresses)
    if (done) done = add_address(socket->get(), index, address);
  for (auto& gateway : nic.gateways) {
    bool v6 = gateway.find(':') != gateway.npos, itself = gateway == "::" || gateway == "0.0.0.0";
    if (done && !v6 && !itself) done = set_route(socket->get(), gateway + "/32", "", index);
    if (done) done = set_route(socket->get(), v6 ? "::/0" : "0.0.0.0/0", itself ? "" : gateway, index);
  }
  return done;
}

/// Others on the parent's network are told that the host takes what is for these addresses.
outcome<void> answer_for(nl_sock* socket, const nic_link& nic, bool add) {
  bool shares = nic.what == nic_link::kind::ipvlan && nic.mode == "l3s";
  if ((nic.what != nic_link::kind::routed && !shares) || nic.parent.empty()) return {};
  auto parent = need_link(socket, nic.parent);
  if (!parent) return tl::unexpected{parent.error()};
  for (auto& text : nic.addresses) {
    auto value = parse_network(text);
    if (!value) continue;
    bool v6 = value->family == AF_INET6;
    if (add) {
      auto done = v6 ? set_net_sysctl("ipv6/conf/" + nic.parent + "/proxy_ndp", "1")
                     : set_net_sysctl("ipv4/conf/" + nic.parent + "/forwarding", "1");
      if (!done) return done;
    }
    neigh_ptr entry{rtnl_neigh_alloc()};
    rtnl_neigh_set_ifindex(entry.get(), rtnl_link_get_ifindex(parent->get()));
    rtnl_neigh_set_family(entry.get(), value->family);
    rtnl_neigh_set_flags(entry.get(), NTF_PROXY);
    rtnl_neigh_set_dst(entry.get(), netlink::to_nl(*value).get());
    int rc = add ? rtnl_neigh_add(socket, entry.get(), NLM_F_CREATE | NLM_F_REPLACE)
                 : rtnl_neigh_delete(socket, entry.get(), 0);
    if (add && rc < 0 && rc != -NLE_EXIST) return fail_nl(rc, "Cannot answer for " + text + " on " + nic.parent);
  }
  return {};
}

/// An ipvlan card's addresses are the host's for its neighbours: it answers for them only if it has a route elsewhere.
outcome<void> settle_shared(nl_sock* socket, const nic_link& nic) {
  if (nic.mode != "l3s") return {};
  auto tables = nic.tables;
  tables.push_back(RT_TABLE_MAIN);
  auto loopback = static_cast<int>(::if_nametoindex("lo"));
  outcome<void> done;
  for (auto& address : nic.addresses) {
    auto forwarding = "ipv6/conf/" + nic.parent + "/forwarding";
    // It is not switched on for the host: it would not listen to routers any more.
    if (address.find(':') != address.npos && read_net_sysctl(forwarding) != "1")
      return fail(fault::invalid,
                  "IPv6 addresses of an ipvlan card need the host's sysctl net/" + forwarding + " to be 1");
    for (auto table : tables)
      if (done) done = add_route(socket, address, loopback, table);
  }
  return done ? answer_for(socket, nic, true) : done;
}

outcome<void> set_routed(nl_sock* socket, const nic_link& nic, int index) {
  if (nic.what != nic_link::kind::routed) return {};
  outcome<void> done = set_net_sysctl("ipv4/conf/" + nic.host_name + "/forwarding", "1");
  for (auto& address : nic.host_addresses) {
    if (done && address.find(':') != address.npos)
      done = set_net_sysctl("ipv6/conf/" + nic.host_name + "/forwarding", "1");
    if (done) done = add_address(socket, index, address);
  }
  auto tables = nic.tables;
  tables.push_back(RT_TABLE_MAIN);
  for (auto& address : nic.addresses)
    for (auto table : tables)
      if (done) done = add_route(socket, address, index, table);
  return done ? answer_for(socket, nic, true) : done;
}

outcome<void> set_queue(nl_sock* socket, rtnl_link* link, uint32_t length) {
  if (length == 0 || rtnl_link_get_txqlen(link) == length) return {};
  link_ptr change{rtnl_link_alloc()};
  rtnl_link_set_txqlen(change.get(), length);
  if (int rc = rtnl_link_change(socket, link, change.get(), 0); rc < 0)
    return fail_nl(rc, "Cannot set the length of the queue");
  return {};
}

/// Packets wait in a token bucket filter; what would wait too long is dropped.
outcome<void> shape(nl_sock* socket, int index, uint64_t bits) {
  qdisc_ptr queue{rtnl_qdisc_alloc()};
  rtnl_tc_set_ifindex(TC_CAST(queue.get()), index);
  rtnl_tc_set_parent(TC_CAST(queue.get()), TC_H_ROOT);
  if (bits == 0) {
    static_cast<void>(rtnl_qdisc_delete(socket, queue.get())); // the kernel's own comes back
    return {};
  }
  auto bytes = std::clamp<uint64_t>(bits / 8, 1, rate_max);
  auto burst = std::min(std::max<uint64_t>(burst_min, bytes / 50), rate_max / 4);
  rtnl_tc_set_kind(TC_CAST(queue.get()), "tbf");
  rtnl_qdisc_tbf_set_rate(queue.get(), static_cast<int>(bytes), static_cast<int>(burst), 0);
  rtnl_qdisc_tbf_set_limit(queue.get(), static_cast<int>(std::min(burst + bytes / 20, rate_max)));
  if (int rc = rtnl_qdisc_add(socket, queue.get(), NLM_F_CREATE | NLM_F_REPLACE); rc < 0)
    return fail_nl(rc, "Cannot limit what the instance receives");
  return {};
}

outcome<void> isolate(const nic_link& nic) {
  auto path = "/sys/class/net/" + nic.host_name + "/brport/isolated";
  std::ofstream out{path};
  out << (nic.isolated ? "1" : "0") << std::flush;
  if (!out.good() && nic.isolated) return fail(fault::unsupported, "The kernel cannot isolate ports of a bridge");
  return {};
}

/// Routes of a bridged card are the bridge's: what is behind it finds its way by ARP.
const std::string& route_link(const nic_link& nic) {
  return nic.what == nic_link::kind::bridged ? nic.parent : nic.host_name;
}

} // namespace

outcome<void> plug_nic(const nic_link& nic, pid_t leader) {
  auto socket = netlink::open_route_socket();
  if (!socket) return tl::unexpected{socket.error()};
  auto make = nic.what == nic_link::kind::macvlan    ? add_macvlan
              : nic.what == nic_link::kind::ipvlan   ? add_ipvlan
              : nic.what == nic_link::kind::physical ? move_in
                                                     : add_veth;
  if (auto there = prepare_nic(nic); !there) return there;
  if (auto made = make(socket->get(), nic, leader); !made) {
    release_nic(nic);
    return made;
  }
  outcome<void> up = claim_nic(nic);
  if (up && nic.has_host_end()) up = raise(socket->get(), nic.host_name);
  if (up) up = set_up_inside(nic, leader);
  if (up) return up;
  static_cast<void>(unplug_nic(nic, leader));
  release_nic(nic);
  return up;
}

outcome<void> prepare_nic(const nic_link& nic) {
  if (nic.vlan.of.empty()) return {};
  auto socket = netlink::open_route_socket();
  if (!socket) return tl::unexpected{socket.error()};
  return hold_vlan(socket->get(), nic.parent, nic.vlan, nic.mark, nic.what == nic_link::kind::physical);
}

void release_nic(const nic_link& nic) {
  if (nic.vlan.of.empty()) return;
  if (auto socket = netlink::open_route_socket()) release_vlan(socket->get(), nic.parent, nic.mark);
}

outcome<void> claim_nic(const nic_link& nic) {
  return nic.has_host_end() ? mark_link(nic.host_name, nic.mark) : outcome<void>{};
}

outcome<void> settle_nic(const nic_link& nic) {
  bool shares = nic.what == nic_link::kind::ipvlan;
  if (!nic.has_host_end() && !shares) return {};
  auto socket = netlink::open_route_socket();
  if (!socket) return tl::unexpected{socket.error()};
  if (shares) return settle_shared(socket->get(), nic);
  auto end = need_link(socket->get(), nic.host_name);
  if (!end) return tl::unexpected{end.error()};
  int index = rtnl_link_get_ifindex(end->get());
  auto done = set_routed(socket->get(), nic, index);
  if (done) done = set_queue(socket->get(), end->get(), nic.queue_length);
  if (done) done = shape(socket->get(), index, nic.ingress);
  if (done && nic.what == nic_link::kind::bridged) done = isolate(nic);
  if (done) done = set_port_vlans(socket->get(), nic.parent, nic.host_name, nic.vlans);
  if (done) done = check_routes(socket->get(), nic.routes);
  if (!done || nic.routes.empty()) return done;
  auto link = need_link(socket->get(), route_link(nic));
  if (!link) return tl::unexpected{link.error()};
  for (auto& route : nic.routes)
    if (done) done = add_route(socket->get(), route, rtnl_link_get_ifindex(link->get()));
  return done;
}

void unsettle_nic(const nic_link& nic) {
  bool shares = nic.what == nic_link::kind::ipvlan;
  if (!nic.has_host_end() && !shares) return;
  auto socket = netlink::open_route_socket();
  if (!socket) return;
  static_cast<void>(answer_for(socket->get(), nic, false));
  auto take_away = [&](const std::string& to, int index, uint32_t table) {
    if (auto route = make_route(to, "", index, table, route_protocol))
      static_cast<void>(rtnl_route_delete(socket->get(), route->get(), 0));
  };
  if (shares) {
    auto tables = nic.tables;
    tables.push_back(RT_TABLE_MAIN);
    for (auto& address : nic.addresses)
      for (auto table : tables) take_away(address, static_cast<int>(::if_nametoindex("lo")), table);
    return;
  }
  auto link = nic.routes.empty() ? outcome<link_ptr>{} : netlink::find_link(socket->get(), route_link(nic));
  if (!link || !*link) return;
  for (auto& text : nic.routes) take_away(text, rtnl_link_get_ifindex(link->get()), RT_TABLE_MAIN);
}

} // namespace troupe
