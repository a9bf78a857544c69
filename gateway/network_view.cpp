#include "gateway/network_view.hpp"

#include "actors/instance_nics.hpp"
#include "gateway/link_addresses.hpp"
#include "messages/rights.hpp"
#include "net/dhcp.hpp"
#include "net/links.hpp"

#include <algorithm>
#include <cctype>
#include <optional>
#include <set>

namespace troupe {
namespace {

using names = std::optional<std::set<std::string>>; // none: all

message<schema::NetworkState> state_of(const link_facts& link, const std::vector<link_facts>& all, const names& shown) {
  return message<schema::NetworkState>::make([&](schema::NetworkState::Builder out) {
    out.setHwaddr(link.hwaddr);
    out.setMtu(link.mtu);
    out.setState(link.up ? "up" : "down");
    out.setType(link.type);
    fill_addresses(out, link);
    auto counters = out.initCounters();
    counters.setBytesReceived(link.counters.rx_bytes);
    counters.setBytesSent(link.counters.tx_bytes);
    counters.setPacketsReceived(link.counters.rx_packets);
    counters.setPacketsSent(link.counters.tx_packets);
    if (link.kind != "bridge") return;
    std::vector<std::string> ports;
    for (auto& other : all)
      if (other.master == link.name && (!shown || shown->count(other.name))) ports.push_back(other.name);
    auto bridge = out.initBridge();
    auto id = link.hwaddr;
    std::erase(id, ':');
    bridge.setId("8000." + id);
    bridge.setForwardDelay(1500);
    bridge.setVlanDefault(1);
    fill(bridge.initUpperDevices(static_cast<unsigned>(ports.size())), ports);
  });
}

message<schema::NetworkLease> lease_of(const std::string& hostname, const std::string& hwaddr,
                                       const std::string& address, const char* type) {
  return message<schema::NetworkLease>::make([&](schema::NetworkLease::Builder l) {
    l.setHostname(hostname);
    l.setHwaddr(hwaddr);
    l.setAddress(address);
    l.setType(type);
    l.setLocation("none");
  });
}

std::string to_lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

// What `fact` says of each card of the instances that somebody may see.
names of_cards(const services& with, const principal& who, std::string (*fact)(const nic_facts&)) {
  if (who.level == trust::full) return std::nullopt;
  std::set<std::string> out;
  auto records = with.db.read();
  records.scan(table::instances, "", [&](std::string_view key, std::string_view bytes) {
    auto slash = key.find('/');
    if (!who.may("can_view", {"instance", std::string{key.substr(0, slash)}, std::string{key.substr(slash + 1)}}))
      return true;
    message<schema::InstanceSpec>::from_bytes(bytes).read([&](schema::InstanceSpec::Reader spec) {
      for (auto& nic : nics_of(expand(records, spec))) out.insert(fact(nic));
    });
    return true;
  });
  return out;
}

} // namespace

outcome<message<schema::NetworkState>> measure_network(const services& with, const std::string& name,
                                                       const principal& who) {
  auto links = list_links();
  if (!links) return tl::unexpected{links.error()};
  auto at = std::find_if(links->begin(), links->end(), [&](auto& link) { return link.name == name; });
  if (at == links->end()) return fail(fault::not_found, "Network interface not found");
  bool all = who.may("can_view_unmanaged_networks", the_server());
  return state_of(*at, *links, all ? names{} : of_cards(with, who, [](const nic_facts& nic) { return nic.host_name; }));
}

outcome<std::vector<message<schema::NetworkLease>>>
leases_of(const services& with, const message<schema::NetworkSpec>& network, const principal& who) {
  auto [name, config] = network.read([](schema::NetworkSpec::Reader n) {
    return std::pair{text(n.getName()), to_map(n.getConfig())};
  });
  auto leases = list_leases(with.dir.networks + "/" + name);
  if (!leases) return tl::unexpected{leases.error()};
  std::vector<message<schema::NetworkLease>> out;
  for (auto key : {"ipv4.address", "ipv6.address"})
    if (auto cidr = get(config, key); cidr.find('/') != cidr.npos)
      out.push_back(lease_of(name + ".gw", "", std::string{cidr.substr(0, cidr.find('/'))}, "gateway"));
  auto shown = of_cards(with, who, [](const nic_facts& nic) { return to_lower(nic.hwaddr); }); // as leases have it
  for (auto& lease : *leases)
    if (!shown || lease.hwaddr.empty() || shown->count(lease.hwaddr))
      out.push_back(lease_of(lease.hostname, lease.hwaddr, lease.address, lease.is_static ? "static" : "dynamic"));
  return out;
}

} // namespace troupe
