#include "net/links.hpp"

#include "net/names.hpp"
#include "net/netlink.hpp"

#include <algorithm>
#include <linux/rtnetlink.h>
#include <map>
#include <net/if.h>
#include <netlink/attr.h>
#include <netlink/errno.h>
#include <netlink/msg.h>

namespace troupe {
namespace {

using netlink::fail_nl;

struct flag_row {
  unsigned flag;
  const char* type;
};
// The last one that holds wins, as in LXD.
constexpr flag_row flag_types[] = {
    {IFF_BROADCAST, "broadcast"}, {IFF_LOOPBACK, "loopback"}, {IFF_POINTOPOINT, "point-to-point"}};

struct counter_row {
  rtnl_link_stat_id_t id;
  uint64_t link_counters::*field;
};
constexpr counter_row counter_rows[] = {
    {RTNL_LINK_RX_BYTES, &link_counters::rx_bytes},     {RTNL_LINK_TX_BYTES, &link_counters::tx_bytes},
    {RTNL_LINK_RX_PACKETS, &link_counters::rx_packets}, {RTNL_LINK_TX_PACKETS, &link_counters::tx_packets},
    {RTNL_LINK_RX_ERRORS, &link_counters::rx_errors},   {RTNL_LINK_TX_ERRORS, &link_counters::tx_errors},
    {RTNL_LINK_RX_DROPPED, &link_counters::rx_dropped}, {RTNL_LINK_TX_DROPPED, &link_counters::tx_dropped},
};

// What an instance's card ends in on the host: of a virtual machine a tap.
bool is_card(rtnl_link* link) {
  auto* type = link == nullptr ? nullptr : rtnl_link_get_type(link);
  return type != nullptr && (std::string_view{type} == "veth" || std::string_view{type} == "tun");
}

std::string type_of(unsigned flags) {
  std::string out = "unknown";
  for (auto& row : flag_types)
    if (flags & row.flag) out = row.type;
  return out;
}

std::string hwaddr_of(rtnl_link* link) {
  auto* address = rtnl_link_get_addr(link);
  if (address == nullptr || nl_addr_get_len(address) != 6 || nl_addr_iszero(address)) return {};
  char text[32];
  return nl_addr2str(address, text, sizeof text);
}

link_facts to_facts(rtnl_link* link) {
  link_facts out;
  auto text = [](const char* value) { return std::string{value == nullptr ? "" : value}; };
  out.name = text(rtnl_link_get_name(link));
  out.kind = text(rtnl_link_get_type(link));
  out.hwaddr = hwaddr_of(link);
  out.type = type_of(rtnl_link_get_flags(link));
  out.index = rtnl_link_get_ifindex(link);
  out.mtu = static_cast<int>(rtnl_link_get_mtu(link));
  out.up = (rtnl_link_get_flags(link) & IFF_UP) != 0;
  if (out.kind == "veth") out.peer_index = rtnl_link_get_link(link);
  for (auto& row : counter_rows) out.counters.*row.field = rtnl_link_get_stat(link, row.id);
  return out;
}

const char* scope_of(int scope) {
  if (scope == RT_SCOPE_HOST) return "local";
  return scope == RT_SCOPE_LINK ? "link" : "global";
}

link_address to_address(const cidr& value, int scope) {
  return {value.family == AF_INET ? "inet" : "inet6", ip_text(value), std::to_string(value.prefix), scope_of(scope)};
}

/// Names that are numbers in the dump: masters, and veth peers that live in the same namespace.
void resolve_names(const netlink::cache_ptr& links, std::vector<link_facts>& facts,
                   const std::map<int, size_t>& by_index) {
  auto name_of = [&](int index) {
    auto at = by_index.find(index);
    return at == by_index.end() ? std::string{} : facts[at->second].name;
  };
  size_t i = 0;
  netlink::for_each<rtnl_link>(links, [&](rtnl_link* link) {
    auto& fact = facts[i++];
    fact.master = name_of(rtnl_link_get_master(link));
    int32_t other_namespace = 0;
    bool elsewhere = rtnl_link_get_link_netnsid(link, &other_namespace) == 0;
    if (fact.peer_index != 0 && !elsewhere) fact.peer = name_of(fact.peer_index);
  });
}

outcome<std::vector<link_facts>> read_links(nl_sock* socket) {
  auto links = netlink::dump_links(socket);
  if (!links) return tl::unexpected{links.error()};
  auto addresses = netlink::dump_addresses(socket);
  if (!addresses) return tl::unexpected{addresses.error()};

  std::vector<link_facts> out;
  std::map<int, size_t> by_index;
  netlink::for_each<rtnl_link>(*links, [&](rtnl_link* link) {
    by_index.emplace(rtnl_link_get_ifindex(link), out.size());
    out.push_back(to_facts(link));
  });
  resolve_names(*links, out, by_index);
  netlink::for_each<rtnl_addr>(*addresses, [&](rtnl_addr* entry) {
    auto at = by_index.find(rtnl_addr_get_ifindex(entry));
    auto value = netlink::from_nl(rtnl_addr_get_local(entry));
    if (at == by_index.end() || !value) return;
    out[at->second].addresses.push_back(to_address(*value, rtnl_addr_get_scope(entry)));
  });
  return out;
}

} // namespace

outcome<std::vector<link_facts>> list_links() {
  auto socket = netlink::open_route_socket();
  if (!socket) return tl::unexpected{socket.error()};
  return read_links(socket->get());
}

outcome<std::vector<link_facts>> list_links_of(pid_t leader) {
  auto socket = netlink::open_route_socket_of(leader);
  if (!socket) return tl::unexpected{socket.error()};
  return read_links(socket->get());
}

outcome<link_facts> get_link(const std::string& name) {
  auto all = list_links();
  if (!all) return tl::unexpected{all.error()};
  auto at = std::find_if(all->begin(), all->end(), [&](const link_facts& link) { return link.name == name; });
  if (at == all->end()) return fail(fault::not_found, "The host has no link of that name", name);
  return std::move(*at);
}

outcome<void> mark_link(const std::string& name, const std::string& mark) {
  auto socket = netlink::open_route_socket();
  if (!socket) return tl::unexpected{socket.error()};
  auto link = netlink::find_link(socket->get(), name);
  if (!link) return tl::unexpected{link.error()};
  if (!is_card(link->get())) return fail(fault::not_found, "There is no card " + name, name);
  if (auto* alias = rtnl_link_get_ifalias(link->get()); alias != nullptr && mark != alias)
    return fail(fault::already_exists, "The link " + name + " is somebody else's", name);
  return netlink::set_alias(socket->get(), rtnl_link_get_ifindex(link->get()), mark);
}

outcome<void> remove_link(const std::string& name, const std::string& mark) {
  if (!is_interface_name(name)) return fail(fault::invalid, "The link's name is malformed");
  auto socket = netlink::open_route_socket();
  if (!socket) return tl::unexpected{socket.error()};
  auto link = netlink::find_link(socket->get(), name);
  if (!link) return tl::unexpected{link.error()};
  if (!is_card(link->get())) return {};
  auto* alias = rtnl_link_get_ifalias(link->get());
  if (mark.empty() || alias == nullptr || mark != alias) return {};
  int rc = rtnl_link_delete(socket->get(), link->get()); // by its index, as it was found
  if (rc < 0 && !netlink::is_gone(rc)) return fail_nl(rc, "Cannot remove link " + name);
  return {};
}

} // namespace troupe
