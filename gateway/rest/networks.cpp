#include "actors/networks.hpp"
#include "gateway/rest/link_addresses.hpp"
#include "gateway/rest/lists.hpp"
#include "gateway/rest/routes.hpp"
#include "net/links.hpp"

#include <algorithm>

namespace troupe {
namespace {

using network_record = message<schema::NetworkSpec>;

std::string key_of(const std::string& name) { return in_project("default", name); }

std::string network_json(const snapshot& records, const network_record& network) {
  std::string out = "{";
  network.read([&](schema::NetworkSpec::Reader n) {
    write_json_fields(out, n);
    out += R"(,"managed":true,"status":"Created","locations":["none"])";
    write_string_list(out, "used_by", users_of_network(records, view(n.getName())));
  });
  return out + "}";
}

// Interfaces of the host that are not ours are shown too, as LXD does.
bool is_shown(const link_facts& link) { return link.kind != "veth" && link.kind != "tun" && link.type != "unknown"; }

std::string host_link_json(const snapshot& records, const link_facts& link) {
  std::string out = "{";
  write_json_name(out, "name");
  write_json_string(out, link.name);
  write_json_name(out, "type");
  write_json_string(out, link.type == "loopback" ? "loopback"
                         : link.kind == "bridge" ? "bridge"
                         : link.kind == "vlan"   ? "vlan"
                         : link.kind == "bond"   ? "bond"
                                                 : "physical");
  out += R"(,"description":"","managed":false,"status":"","config":{},"locations":null)";
  write_string_list(out, "used_by", users_of_network(records, link.name));
  return out + "}";
}

outcome<std::string> list_networks(const rest_request& from) {
  auto records = from.with().db.read();
  json_list list;
  auto show = [&](std::string_view name, auto&& full) {
    if (from.recursion() == 0)
      list.url("/1.0/networks/", name);
    else
      list.next() += full();
  };
  records.scan(table::networks, "default/", [&](std::string_view key, std::string_view bytes) {
    show(key.substr(key.find('/') + 1), [&] { return network_json(records, network_record::from_bytes(bytes)); });
    return true;
  });
  auto links = list_links();
  if (!links) return tl::unexpected{links.error()};
  for (auto& link : *links)
    if (is_shown(link) && !records.get(table::networks, key_of(link.name)))
      show(link.name, [&] { return host_link_json(records, link); });
  return std::move(list).take();
}

void update(const rest_request& from, bool patch) {
  auto body = body_of<schema::NetworkPut>(from);
  if (!body) return reply_error(from, body.error());
  ask_sync(from, role::networks, "", update_network{from.parameter(0), {*body, from.head}, from.etag(), patch});
}

message<schema::NetworkState> state_of(const link_facts& link, const std::vector<link_facts>& all) {
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
      if (other.master == link.name) ports.push_back(other.name);
    auto bridge = out.initBridge();
    auto id = link.hwaddr;
    std::erase(id, ':');
    bridge.setId("8000." + id);
    bridge.setForwardDelay(1500);
    bridge.setVlanDefault(1);
    fill(bridge.initUpperDevices(static_cast<unsigned>(ports.size())), ports);
  });
}

outcome<std::string> leases_json(const rest_request& from, const network_record& network) {
  auto& name = from.parameter(0);
  auto leases = list_leases(from.with().dir.networks + "/" + name);
  if (!leases) return tl::unexpected{leases.error()};
  json_list list;
  auto add = [&](const std::string& hostname, const std::string& hwaddr, const std::string& address,
                 std::string_view type) {
    auto lease = message<schema::NetworkLease>::make([&](schema::NetworkLease::Builder l) {
      l.setHostname(hostname);
      l.setHwaddr(hwaddr);
      l.setAddress(address);
      l.setType(std::string{type});
      l.setLocation("none");
    });
    list.next() += to_json(lease);
  };
  auto config = network.read([](auto n) { return to_map(n.getConfig()); });
  for (auto key : {"ipv4.address", "ipv6.address"})
    if (auto cidr = get(config, key); cidr.find('/') != cidr.npos)
      add(name + ".gw", "", std::string{cidr.substr(0, cidr.find('/'))}, "gateway");
  for (auto& lease : *leases) add(lease.hostname, lease.hwaddr, lease.address, lease.is_static ? "static" : "dynamic");
  return std::move(list).take();
}

} // namespace

void get_networks(const rest_request& from) {
  reply_from_blocking_thread(from, [from] { return list_networks(from); });
}

void post_networks(const rest_request& from) {
  auto body = body_of<schema::NetworksPost>(from);
  if (!body) return reply_error(from, body.error());
  auto name = body->read([](auto post) { return text(post.getName()); });
  ask_sync(from, role::networks, "/1.0/networks/" + name, envelope<schema::NetworksPost>{*body, from.head});
}

void get_network(const rest_request& from) {
  auto records = from.with().db.read();
  auto network = load<schema::NetworkSpec>(records, table::networks, key_of(from.parameter(0)));
  if (network) return reply_sync(from, network_json(records, *network), etag_of(network->bytes()));
  reply_from_blocking_thread(from, [from]() -> outcome<std::string> {
    auto link = get_link(from.parameter(0));
    if (!link) return fail(fault::not_found, "Network not found");
    return host_link_json(from.with().db.read(), *link);
  });
}

void put_network(const rest_request& from) { update(from, false); }
void patch_network(const rest_request& from) { update(from, true); }

void post_network(const rest_request& from) {
  auto body = body_of<schema::Rename>(from);
  if (!body) return reply_error(from, body.error());
  auto to = body->read([](auto post) { return text(post.getName()); });
  ask_sync(from, role::networks, "/1.0/networks/" + to, rename_network{from.parameter(0), to, from.head});
}

void delete_network_(const rest_request& from) {
  ask_sync(from, role::networks, "", delete_network{from.parameter(0), from.head});
}

void get_leases(const rest_request& from) {
  auto network = load<schema::NetworkSpec>(from.with().db.read(), table::networks, key_of(from.parameter(0)));
  if (!network) return reply_error(from, {fault::not_found, "Network not found"});
  reply_from_blocking_thread(from, [from, network = *network] { return leases_json(from, network); });
}

void get_network_state(const rest_request& from) {
  reply_from_blocking_thread(from, [from]() -> outcome<std::string> {
    auto links = list_links();
    if (!links) return tl::unexpected{links.error()};
    auto at = std::find_if(links->begin(), links->end(), [&](auto& link) { return link.name == from.parameter(0); });
    if (at == links->end()) return fail(fault::not_found, "Network interface not found");
    return to_json(state_of(*at, *links));
  });
}

} // namespace troupe
