#include "actors/networks.hpp"
#include "gateway/network_view.hpp"
#include "gateway/rest/lists.hpp"
#include "gateway/rest/routes.hpp"
#include "net/links.hpp"

namespace troupe {
namespace {

using network_record = message<schema::NetworkSpec>;

std::string key_of(const rest_request& from, const std::string& name) { return in_project(from.head->project, name); }

std::string network_json(const rest_request& from, const snapshot& records, const network_record& network) {
  std::string out = "{";
  network.read([&](schema::NetworkSpec::Reader n) {
    write_json_fields(out, n);
    out += R"(,"managed":true,"status":"Created","locations":["none"])";
    write_used_by(out, from.head->who, users_of_network(records, view(n.getName())));
  });
  return out + "}";
}

// Interfaces of the host that are not ours, to those who may see all of it; in the project that they are listed in.
bool sees_host(const rest_request& from) {
  return from.head->project == "default" && from.head->who.may("can_view_unmanaged_networks", the_server());
}
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
  records.scan(table::networks, from.head->project + '/', [&](std::string_view key, std::string_view bytes) {
    if (!from.sees("network", key.substr(key.find('/') + 1))) return true;
    show(key.substr(key.find('/') + 1), [&] { return network_json(from, records, network_record::from_bytes(bytes)); });
    return true;
  });
  if (!sees_host(from)) return std::move(list).take();
  auto links = list_links();
  if (!links) return tl::unexpected{links.error()};
  for (auto& link : *links)
    if (is_shown(link) && !records.get(table::networks, key_of(from, link.name)))
      show(link.name, [&] { return host_link_json(records, link); });
  return std::move(list).take();
}

void update(const rest_request& from, bool patch) {
  auto body = body_of<schema::NetworkPut>(from);
  if (!body) return reply_error(from, body.error());
  ask_sync(from, role::networks, "", update_network{from.parameter(0), {*body, from.head}, from.etag(), patch});
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
  auto network = load<schema::NetworkSpec>(records, table::networks, key_of(from, from.parameter(0)));
  if (network) return reply_sync(from, network_json(from, records, *network), etag_of(network->bytes()));
  if (!sees_host(from)) return reply_error(from, {fault::not_found, "Network not found"});
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
  auto network = load<schema::NetworkSpec>(from.with().db.read(), table::networks, key_of(from, from.parameter(0)));
  if (!network) return reply_error(from, {fault::not_found, "Network not found"});
  reply_from_blocking_thread(from, [from, network = *network]() -> outcome<std::string> {
    auto leases = leases_of(from.with(), network, from.head->who);
    if (!leases) return tl::unexpected{leases.error()};
    json_list list;
    for (auto& lease : *leases) list.next() += to_json(lease);
    return std::move(list).take();
  });
}

void get_network_state(const rest_request& from) {
  if (!sees_host(from) && !from.with().db.read().get(table::networks, key_of(from, from.parameter(0))))
    return reply_error(from, {fault::not_found, "Network not found"});
  reply_from_blocking_thread(from, [from]() -> outcome<std::string> {
    auto state = measure_network(from.with(), from.parameter(0), from.head->who);
    if (!state) return tl::unexpected{state.error()};
    return to_json(*state);
  });
}

} // namespace troupe
