#include "actors/networks.hpp"
#include "gateway/bus/check.hpp"
#include "gateway/bus/methods.hpp"
#include "gateway/bus/page.hpp"
#include "gateway/network_view.hpp"

namespace troupe::on_bus {
namespace {

std::string key_of(const call_ptr& c) { return in_project(c->at.head->project, c->at.name()); }

message<schema::NetworkSpec> network_of(const call_ptr& c, const snapshot& records) {
  auto network = load<schema::NetworkSpec>(records, table::networks, key_of(c));
  if (!network) refuse(fault::not_found, "Network not found");
  return *network;
}

void fill_view(bus::NetworkView::Builder out, const principal& who, const snapshot& records,
               schema::NetworkSpec::Reader network) {
  copy_shown(network, out.initSpec());
  out.setManaged(true);
  fill_used_by(out, who, users_of_network(records, view(network.getName())));
}

} // namespace

kj::Promise<void> list_networks(const call_ptr& c) {
  return reply_page<bus::Networks::ListResults, schema::NetworkSpec>(
      c, c->params<bus::Page>(), table::networks, c->at.head->project + "/",
      [head = c->at.head](auto out, auto& records, auto network) { fill_view(out, head->who, records, network); },
      visible_as(c, "network"));
}

kj::Promise<void> create_network(const call_ptr& c) {
  auto params = c->params<schema::NetworksPost>();
  return begin(c, c->at.below(text(params.getName())), role::networks,
               envelope<schema::NetworksPost>{copy_of<schema::NetworksPost>(params), c->at.head});
}

kj::Promise<void> view_network(const call_ptr& c) {
  auto records = c->with().db.read();
  auto network = network_of(c, records);
  auto results = c->results<bus::NetworkView>();
  network.read([&](auto n) { fill_view(results, c->at.head->who, records, n); });
  results.setEtag(etag_of(network.bytes()));
  return kj::READY_NOW;
}

kj::Promise<void> update_network(const call_ptr& c) {
  auto params = c->params<bus::Network::UpdateParams>();
  auto guard = params.getGuard();
  return begin(c, std::nullopt, role::networks,
               troupe::update_network{c->at.name(),
                                      {copy_of<schema::NetworkPut>(params.getBody()), c->at.head},
                                      text(guard.getEtag()),
                                      guard.getPatch()});
}

kj::Promise<void> rename_network(const call_ptr& c) {
  auto to = text(c->params<schema::Rename>().getName());
  return begin(c, c->at.beside(to), role::networks, troupe::rename_network{c->at.name(), to, c->at.head});
}

kj::Promise<void> delete_network(const call_ptr& c) {
  return begin(c, std::nullopt, role::networks, troupe::delete_network{c->at.name(), c->at.head});
}

kj::Promise<void> network_leases(const call_ptr& c) {
  using results = bus::Network::LeasesResults;
  auto network = network_of(c, c->with().db.read());
  return reply_from_blocking_thread(c, [&with = c->with(), network, head = c->at.head]() -> outcome<message<results>> {
    auto leases = leases_of(with, network, head->who);
    if (!leases) return tl::unexpected{leases.error()};
    return message<results>::make([&](results::Builder out) {
      auto list = out.initLeases(static_cast<unsigned>(leases->size()));
      for (unsigned i = 0; i < leases->size(); ++i)
        (*leases)[i].read([&](auto lease) { list.setWithCaveats(i, lease); });
    });
  });
}

kj::Promise<void> network_state(const call_ptr& c) {
  bool sees_host = c->at.head->project == "default" && c->at.head->who.may("can_view_unmanaged_networks", the_server());
  if (!sees_host) network_of(c, c->with().db.read()); // the host's are not his business
  return reply_from_blocking_thread(c, [&with = c->with(), name = c->at.name(), head = c->at.head] {
    return measure_network(with, name, head->who);
  });
}

} // namespace troupe::on_bus
