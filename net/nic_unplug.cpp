#include "messages/unique_fd.hpp"
#include "net/links.hpp"
#include "net/netlink.hpp"
#include "net/nic.hpp"

#include <fcntl.h>
#include <linux/net_namespace.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <netlink/route/link/vlan.h>

namespace troupe {

using netlink::fail_nl;
using netlink::link_ptr;

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
  bool on_vlan = !nic.vlan.of.empty();
  bool ours = nic.what != nic_link::kind::physical; // else it was the host's
  auto kind = nic.what == nic_link::kind::ipvlan ? "ipvlan" : "macvlan";
  if (!ours && *parent) return link_ptr{}; // it is back, or never went
  auto below = netlink::find_link(host, nic.vlan.of);
  if (on_vlan && !below) return tl::unexpected{below.error()};
  auto links = netlink::dump_links(inside);
  if (!links) return tl::unexpected{links.error()};
  auto is_one = [&](rtnl_link* link) {
    int32_t id = -1;
    bool tied = *host_id >= 0 && rtnl_link_get_link_netnsid(link, &id) == 0 && id == *host_id;
    if (ours)
      return tied && *parent && is_kind(link, kind) && rtnl_link_get_link(link) == rtnl_link_get_ifindex(parent->get());
    if (on_vlan)
      return tied && *below && is_kind(link, "vlan") && rtnl_link_vlan_get_id(link) == nic.vlan.number &&
             rtnl_link_get_link(link) == rtnl_link_get_ifindex(below->get());
    if (is_kind(link, "")) return (rtnl_link_get_flags(link) & IFF_LOOPBACK) == 0;
    return tied && !is_kind(link, "macvlan") && !is_kind(link, "ipvlan") &&
           !is_end_of_card(host, rtnl_link_get_link(link));
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
  if (found == nullptr && (count > 0 || (!ours && !on_vlan)))
    return fail(fault::wrong_state,
                "The card " + nic.name + " cannot be told from others inside; it comes back when the instance stops");
  if (found != nullptr) nl_object_get(OBJ_CAST(found)); // the cache goes
  return link_ptr{found};
}

} // namespace

outcome<void> unplug_nic(const nic_link& nic, pid_t leader) {
  if (nic.has_host_end()) return remove_link(nic.host_name, nic.mark);
  auto inside = netlink::open_route_socket_of(leader);
  if (!inside) return tl::unexpected{inside.error()};
  auto host_socket = netlink::open_route_socket();
  if (!host_socket) return tl::unexpected{host_socket.error()};
  auto link = find_card(host_socket->get(), inside->get(), nic);
  if (!link) return tl::unexpected{link.error()};
  if (!*link) return {};
  if (nic.what != nic_link::kind::physical) {
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

} // namespace troupe
