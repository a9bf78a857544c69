#pragma once

#include "actors/operations.hpp"
#include "actors/records.hpp"
#include "actors/saga.hpp"
#include "net/dhcp.hpp"

namespace troupe {

struct delete_network { // -> operation_record
  std::string network;
  std::shared_ptr<const header> head;
};
struct update_network { // -> operation_record
  std::string network;
  envelope<schema::NetworkPut> request;
  std::string etag;
  bool patch = false;
};
struct rename_network { // -> operation_record
  std::string network, to;
  std::shared_ptr<const header> head;
};

/// A nic is about to be used: its name and MAC are made known to DHCP and DNS. -> unit
struct announce_host {
  std::string network;
  dhcp_host host;
};
/// The nic's owner is gone: host entry and lease go too. -> unit
struct forget_host {
  std::string network, key, hwaddr;
};

/// INTERNAL, networks -> network: make the host equal to the record, or to a config that is not committed yet. -> unit
struct apply_network {
  std::optional<config_map> config = {};
};
/// INTERNAL: take it down. -> unit
struct take_down_network {};

/// The NETWORKS actor: admission, the daemon's one firewall table, and the way to each network's actor.
/// (envelope<NetworksPost>) -> operation_record
caf::behavior networks(caf::event_based_actor* self, services& with);

/// The NETWORK actor: one managed bridge, its dnsmasq and its host entries.
caf::behavior network(caf::event_based_actor* self, services& with, std::string name);

} // namespace troupe

TROUPE_LOCAL_MESSAGE(troupe::delete_network)
TROUPE_LOCAL_MESSAGE(troupe::update_network)
TROUPE_LOCAL_MESSAGE(troupe::rename_network)
TROUPE_LOCAL_MESSAGE(troupe::announce_host)
TROUPE_LOCAL_MESSAGE(troupe::forget_host)
TROUPE_LOCAL_MESSAGE(troupe::apply_network)
TROUPE_LOCAL_MESSAGE(troupe::take_down_network)
