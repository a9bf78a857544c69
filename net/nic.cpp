#include "net/nic.hpp"

#include "messages/unique_fd.hpp"
#include "net/links.hpp"
#include "net/names.hpp"
#include "net/netlink.hpp"
#include "net/sysctl.hpp"

#include <algorithm>
#include <fcntl.h>
#include <fstream>
#include <linux/net_namespace.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/attr.h>
#include <netlink/errno.h>
#include <netlink/msg.h>
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
    bool v6 = gateway.find(':') != gateway.npos;
    if (done && !v6) done = set_route(socket->get(), gateway + "/32", "", index);
    if (done) done = set_route(socket->get(), v6 ? "::/0" : "0.0.0.0/0", gateway, index);
  }
  return done;
}

/// Others on the parent's network are told that the host takes what is for these addresses.
outcome<void> answer_for(nl_sock* socket, const nic_link& nic, bool add) {
  if (nic.what != nic_link::kind::routed || nic.parent.empty()) return {};
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
              : nic.what == nic_link::kind::physical ? move_in
                                                     : add_veth;
  if (auto made = make(socket->get(), nic, leader); !made) return made;
  outcome<void> up = claim_nic(nic);
  if (up && nic.has_host_end()) up = raise(socket->get(), nic.host_name);
  if (up) up = set_up_inside(nic, leader);
  if (!up) static_cast<void>(unplug_nic(nic, leader));
  return up;
}

namespace {

/// The number by which `inside` knows the calling process's network namespace; -1: it knows no link of it.
outcome<int> own_namespace_id(nl_sock* inside) {
  unique_fd host{::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC)};
  std::unique_ptr<nl_msg, netlink::freed_by<nlmsg_free>> request{nlmsg_alloc_simple(RTM_GETNSID, 0)};
  rtgenmsg any{};
  if (!host || !request || nlmsg_append(request.get(), &any, sizeof any, NLMSG_ALIGNTO) < 0 ||
      nla_put_u32(request.get(), NETNSA_FD, static_cast<uint32_t>(host.get())) < 0)
    return fail(fault::backend_failed, "Cannot allocate a message");
  int id = -1;
  auto read = [](nl_msg* reply, void* into) -> int {
    if (auto* found = nlmsg_find_attr(nlmsg_hdr(reply), sizeof(rtgenmsg), NETNSA_NSID))
      *static_cast<int*>(into) = static_cast<int32_t>(nla_get_u32(found));
    return NL_OK;
  };
  nl_socket_modify_cb(inside, NL_CB_VALID, NL_CB_CUSTOM, read, &id);
  int rc = nl_send_auto(inside, request.get());
  if (rc >= 0) rc = nl_recvmsgs_default(inside); // the answer
  if (rc >= 0) rc = nl_wait_for_ack(inside);
  nl_socket_modify_cb(inside, NL_CB_VALID, NL_CB_DEFAULT, nullptr, nullptr);
  if (rc < 0) return fail_nl(rc, "Cannot ask for the host's network namespace");
  return id;
}

bool is_kind(rtnl_link* link, std::string_view kind) {
  auto* type = rtnl_link_get_type(link);
  return (type == nullptr ? std::string_view{} : type) == kind;
}

/// The host's ends of our own cards, by index: what is linked to one of them inside is no card that was moved in.
bool is_end_of_card(nl_sock* host, int index) {
  rtnl_link* found = nullptr;
  if (rtnl_link_get_kernel(host, index, nullptr, &found) < 0) return false;
  link_ptr link{found};
  auto* alias = rtnl_link_get_ifalias(found);
  return alias != nullptr && std::string_view{alias}.starts_with("troupe-");
}

/// A card without a host's end, inside. Not by its name alone, which its owner changes there, and gives to another
/// link: nobody inside can make hardware, or a link that is tied to one of the host's. Null: it is not there.
outcome<link_ptr> find_card(nl_sock* host, nl_sock* inside, const nic_link& nic) {
  auto host_id = own_namespace_id(inside);
  if (!host_id) return tl::unexpected{host_id.error()};
  auto parent = netlink::find_link(host, nic.parent);
  if (!parent) return tl::unexpected{parent.error()};
  bool macvlan = nic.what == nic_link::kind::macvlan;
  if (!macvlan && *parent) return link_ptr{}; // it is back, or never went
  auto links = netlink::dump_links(inside);
  if (!links) return tl::unexpected{links.error()};
  auto is_one = [&](rtnl_link* link) {
    int32_t id = -1;
    bool tied = *host_id >= 0 && rtnl_link_get_link_netnsid(link, &id) == 0 && id == *host_id;
    if (macvlan)
      return tied && *parent && is_kind(link, "macvlan") &&
             rtnl_link_get_link(link) == rtnl_link_get_ifindex(parent->get());
    if (is_kind(link, "")) return (rtnl_link_get_flags(link) & IFF_LOOPBACK) == 0;
    return tied && !is_kind(link, "macvlan") && !is_end_of_card(host, rtnl_link_get_link(link));
  };
  rtnl_link *named = nullptr, *any = nullptr;
  int count = 0;
  netlink::for_each<rtnl_link>(*links, [&](rtnl_link* link) {
    if (!is_one(link)) return;
    any = link;
    ++count;
    if (nic.name == rtnl_link_get_name(link)) named = link;
  });
  auto* found = named != nullptr ? named : count == 1 ? any : nullptr;
  if (found == nullptr && (count > 0 || !macvlan))
    return fail(fault::wrong_state,
                "The card " + nic.name + " cannot be told from others inside; it comes back when the instance stops");
  if (found != nullptr) nl_object_get(OBJ_CAST(found)); // the cache goes
  return link_ptr{found};
}

} // namespace

outcome<void> claim_nic(const nic_link& nic) {
  return nic.has_host_end() ? mark_link(nic.host_name, nic.mark) : outcome<void>{};
}

outcome<void> unplug_nic(const nic_link& nic, pid_t leader) {
  if (nic.has_host_end()) return remove_link(nic.host_name, nic.mark);
  auto inside = netlink::open_route_socket_of(leader);
  if (!inside) return tl::unexpected{inside.error()};
  auto host_socket = netlink::open_route_socket();
  if (!host_socket) return tl::unexpected{host_socket.error()};
  auto link = find_card(host_socket->get(), inside->get(), nic);
  if (!link) return tl::unexpected{link.error()};
  if (!*link) return {};
  if (nic.what == nic_link::kind::macvlan) {
    int rc = rtnl_link_delete(inside->get(), link->get());
    if (rc < 0 && !netlink::is_gone(rc)) return fail_nl(rc, "Cannot remove the card " + nic.name);
    return {};
  }
  unique_fd host{::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC)};
  link_ptr change{rtnl_link_alloc()};
  rtnl_link_set_name(change.get(), nic.parent.c_str());
  rtnl_link_set_ns_fd(change.get(), host.get());
  if (int rc = rtnl_link_change(inside->get(), link->get(), change.get(), 0); rc < 0)
    return fail_nl(rc, "Cannot take " + nic.parent + " back");
  return {};
}

outcome<void> settle_nic(const nic_link& nic) {
  if (!nic.has_host_end()) return {};
  auto socket = netlink::open_route_socket();
  if (!socket) return tl::unexpected{socket.error()};
  auto end = need_link(socket->get(), nic.host_name);
  if (!end) return tl::unexpected{end.error()};
  int index = rtnl_link_get_ifindex(end->get());
  auto done = set_routed(socket->get(), nic, index);
  if (done) done = set_queue(socket->get(), end->get(), nic.queue_length);
  if (done) done = shape(socket->get(), index, nic.ingress);
  if (done && nic.what == nic_link::kind::bridged) done = isolate(nic);
  if (done) done = check_routes(socket->get(), nic.routes);
  if (!done || nic.routes.empty()) return done;
  auto link = need_link(socket->get(), route_link(nic));
  if (!link) return tl::unexpected{link.error()};
  for (auto& route : nic.routes)
    if (done) done = add_route(socket->get(), route, rtnl_link_get_ifindex(link->get()));
  return done;
}

void unsettle_nic(const nic_link& nic) {
  if (!nic.has_host_end()) return;
  auto socket = netlink::open_route_socket();
  if (!socket) return;
  static_cast<void>(answer_for(socket->get(), nic, false));
  auto link = nic.routes.empty() ? outcome<link_ptr>{} : netlink::find_link(socket->get(), route_link(nic));
  if (!link || !*link) return;
  for (auto& text : nic.routes)
    if (auto route = make_route(text, "", rtnl_link_get_ifindex(link->get()), RT_TABLE_MAIN, route_protocol))
      static_cast<void>(rtnl_route_delete(socket->get(), route->get(), 0));
}

} // namespace troupe
