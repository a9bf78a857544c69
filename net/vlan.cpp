#include "net/vlan.hpp"

#include "messages/unique_fd.hpp"

#include <cerrno>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <linux/if_bridge.h>
#include <linux/if_vlan.h>
#include <net/if.h>
#include <netlink/attr.h>
#include <netlink/errno.h>
#include <netlink/msg.h>
#include <netlink/route/link/vlan.h>
#include <sys/file.h>
#include <sys/stat.h>

namespace troupe {
namespace {

namespace fs = std::filesystem;
using netlink::fail_nl;
using netlink::link_ptr;
using message_ptr = std::unique_ptr<nl_msg, netlink::freed_by<nlmsg_free>>;

constexpr uint16_t last_vlan = 4094;
constexpr char made_by_us[] = "troupe-vlan";    // the alias of a link that is removed with its last user
constexpr char holders[] = "/run/troupe/vlans"; // LINK/MARK, an empty file for each that uses it

// ---- ports of bridges

bool put_range(nl_msg* to, uint16_t first, uint16_t last, uint16_t flags) {
  bridge_vlan_info begin{flags, first}, end{flags, last};
  if (first != last) {
    begin.flags |= BRIDGE_VLAN_INFO_RANGE_BEGIN;
    end.flags |= BRIDGE_VLAN_INFO_RANGE_END;
  }
  return nla_put(to, IFLA_BRIDGE_VLAN_INFO, sizeof begin, &begin) == 0 &&
         (first == last || nla_put(to, IFLA_BRIDGE_VLAN_INFO, sizeof end, &end) == 0);
}

/// `what`: RTM_SETLINK adds, RTM_DELLINK takes away.
outcome<void> change_port(nl_sock* socket, int what, int port, uint16_t first, uint16_t last, uint16_t flags) {
  message_ptr request{nlmsg_alloc_simple(what, 0)};
  ifinfomsg which{};
  which.ifi_family = AF_BRIDGE;
  which.ifi_index = port;
  bool good = request && nlmsg_append(request.get(), &which, sizeof which, NLMSG_ALIGNTO) == 0;
  auto* nest = good ? nla_nest_start(request.get(), IFLA_AF_SPEC) : nullptr;
  if (nest == nullptr || !put_range(request.get(), first, last, flags))
    return fail(fault::backend_failed, "Cannot allocate a message");
  nla_nest_end(request.get(), nest);
  int rc = nl_send_sync(socket, request.release());
  return rc < 0 ? fail_nl(rc, "Cannot change the VLANs of a port") : outcome<void>{};
}

outcome<void> make_aware(const std::string& bridge, bool managed) {
  auto file = "/sys/class/net/" + bridge + "/bridge/vlan_filtering";
  std::ifstream in{file};
  int aware = 0;
  if (!(in >> aware)) return fail(fault::unsupported, "The kernel of this host has no VLANs on bridges");
  if (aware != 0) return {};
  if (!managed)
    return fail(fault::invalid, "The bridge " + bridge + " looks at no VLANs (vlan_filtering): switch that on first");
  std::ofstream out{file};
  out << "1" << std::flush;
  return out.good() ? outcome<void>{} : fail(fault::backend_failed, "Cannot make " + bridge + " look at VLANs");
}

uint16_t own_vlan(const std::string& bridge) {
  std::ifstream in{"/sys/class/net/" + bridge + "/bridge/default_pvid"};
  uint16_t number = 0;
  in >> number;
  return number;
}

// ---- links of VLANs

/// One change of the holders at a time, whichever daemon it is of.
unique_fd lock_holders() {
  std::error_code none;
  fs::create_directories(holders, none);
  unique_fd lock{::open(holders, O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (lock) ::flock(lock.get(), LOCK_EX);
  return lock;
}

bool is_that_vlan(rtnl_link* link, int below, uint16_t number) {
  auto* type = rtnl_link_get_type(link);
  return type != nullptr && std::string_view{type} == "vlan" && rtnl_link_get_link(link) == below &&
         rtnl_link_vlan_get_id(link) == number;
}

bool is_made_by_us(rtnl_link* link) {
  auto* alias = rtnl_link_get_ifalias(link);
  return alias != nullptr && std::string_view{alias} == made_by_us;
}

outcome<void> make_link(nl_sock* socket, const std::string& name, const vlan_link& what, int below) {
  link_ptr link{rtnl_link_vlan_alloc()};
  if (!link) return fail(fault::backend_failed, "Cannot allocate a link");
  rtnl_link_set_name(link.get(), name.c_str());
  rtnl_link_set_link(link.get(), below);
  rtnl_link_vlan_set_id(link.get(), what.number);
  if (what.gvrp) rtnl_link_vlan_set_flags(link.get(), VLAN_FLAG_GVRP);
  rtnl_link_set_flags(link.get(), IFF_UP);
  int rc = rtnl_link_add(socket, link.get(), NLM_F_CREATE | NLM_F_EXCL);
  if (rc == -NLE_OPNOTSUPP) return fail(fault::unsupported, "The kernel of this host has no VLANs (8021q)");
  if (rc < 0) return fail_nl(rc, "Cannot make the VLAN " + name);
  auto made = netlink::find_link(socket, name);
  if (!made) return tl::unexpected{made.error()};
  return *made ? netlink::set_alias(socket, rtnl_link_get_ifindex(made->get()), made_by_us)
               : fail(fault::not_found, "There is no link " + name, name);
}

} // namespace

outcome<void> set_port_vlans(nl_sock* socket, const std::string& bridge, const std::string& port,
                             const port_vlans& wanted) {
  if (!wanted.any()) return {};
  auto link = netlink::find_link(socket, port);
  if (!link) return tl::unexpected{link.error()};
  if (!*link) return fail(fault::not_found, "There is no link " + port, port);
  if (auto aware = make_aware(bridge, wanted.managed); !aware) return aware;
  auto index = rtnl_link_get_ifindex(link->get());
  uint16_t untagged = wanted.untagged.empty()     ? own_vlan(bridge)
                      : wanted.untagged == "none" ? uint16_t{0}
                                                  : static_cast<uint16_t>(std::stoi(wanted.untagged));
  auto done = change_port(socket, RTM_DELLINK, index, 1, last_vlan, 0);
  for (auto [first, last] : wanted.tagged)
    if (done) done = change_port(socket, RTM_SETLINK, index, first, last, 0);
  if (done && untagged > 0)
    done =
        change_port(socket, RTM_SETLINK, index, untagged, untagged, BRIDGE_VLAN_INFO_PVID | BRIDGE_VLAN_INFO_UNTAGGED);
  return done;
}

outcome<void> hold_vlan(nl_sock* socket, const std::string& name, const vlan_link& what, const std::string& mark,
                        bool alone) {
  auto parent = netlink::find_link(socket, what.of);
  if (!parent) return tl::unexpected{parent.error()};
  if (!*parent) return fail(fault::not_found, "There is no link " + what.of, what.of);
  auto lock = lock_holders();
  auto link = netlink::find_link(socket, name);
  if (!link) return tl::unexpected{link.error()};
  auto below = rtnl_link_get_ifindex(parent->get());
  auto folder = fs::path{holders} / name;
  std::error_code none;
  if (*link && !is_that_vlan(link->get(), below, what.number))
    return fail(fault::already_exists,
                "The link " + name + " is no VLAN " + std::to_string(what.number) + " of " + what.of, name);
  for (auto& other : fs::directory_iterator{folder, none})
    if (alone && other.path().filename() != mark)
      return fail(fault::already_exists, "The link " + name + " is in use", name);
  if (*link && alone && !is_made_by_us(link->get()))
    return fail(fault::already_exists, "The link " + name + " is the host's; give it as parent without a VLAN", name);
  if (!*link)
    if (auto made = make_link(socket, name, what, below); !made) return made;
  fs::create_directories(folder, none);
  std::ofstream{folder / mark};
  return {};
}

void release_vlan(nl_sock* socket, const std::string& name, const std::string& mark) {
  auto lock = lock_holders();
  auto folder = fs::path{holders} / name;
  std::error_code none;
  if (!fs::remove(folder / mark, none)) return;
  if (!fs::remove(folder, none)) return; // others are left
  auto link = netlink::find_link(socket, name);
  if (link && *link && is_made_by_us(link->get())) rtnl_link_delete(socket, link->get());
}

} // namespace troupe
