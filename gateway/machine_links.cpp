#include "gateway/machine_links.hpp"

#include "actors/instance_nics.hpp"
#include "net/cidr.hpp"
#include "net/dhcp.hpp"

namespace troupe {
namespace {

link_facts as_link(const guest_report::card& card) {
  link_facts link;
  link.name = card.name;
  link.hwaddr = card.hwaddr;
  link.type = card.type;
  link.mtu = static_cast<int>(card.mtu);
  link.up = card.state == "up";
  for (auto& one : card.addresses)
    link.addresses.push_back({one.family, one.address, std::to_string(one.prefix), one.scope});
  link.counters = {card.received,        card.sent,        card.packets_received, card.packets_sent,
                   card.errors_received, card.errors_sent, card.drops_received,   card.drops_sent};
  return link;
}

std::string prefix_of(const config_map& network, std::string_view family) {
  auto own = parse_cidr(get(network, std::string{family} + ".address"));
  return own ? std::to_string(own->prefix) : std::string{};
}

void add_leases(services& with, link_facts& link, const std::string& network) {
  auto spec = load<schema::NetworkSpec>(with.db.read(), table::networks, in_project("default", network));
  auto leases = list_leases(with.dir.networks + "/" + network);
  if (!spec || !leases) return;
  auto config = spec->read([](auto s) { return to_map(s.getConfig()); });
  for (auto& lease : *leases) {
    bool v6 = lease.address.find(':') != lease.address.npos;
    if (lease.hwaddr != link.hwaddr) continue;
    link.addresses.push_back({v6 ? "inet6" : "inet", lease.address, prefix_of(config, v6 ? "ipv6" : "ipv4"), "global"});
  }
}

} // namespace

std::vector<link_facts> links_of_machine(services& with, const std::optional<guest_report>& told,
                                         const expansion& effective) {
  std::vector<link_facts> out;
  if (told) {
    for (auto& card : told->cards) out.push_back(as_link(card));
    return out;
  }
  for (auto& nic : nics_of(effective)) {
    link_facts link;
    link.name = nic.name;
    link.hwaddr = nic.hwaddr;
    link.type = "broadcast";
    link.mtu = static_cast<int>(nic.mtu);
    link.up = true;
    if (nic.managed) add_leases(with, link, nic.network);
    out.push_back(std::move(link));
  }
  return out;
}

} // namespace troupe
