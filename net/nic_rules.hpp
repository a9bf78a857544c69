#pragma once

#include "messages/error.hpp"
#include "net/proxy_address.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace troupe {

/// What the firewall does about one card, known by the name of its host's end.
struct nic_rules {
  std::string host_name, hwaddr;
  bool bridged = true;
  bool mac_filtering = false, ipv4_filtering = false, ipv6_filtering = false;
  std::string ipv4, ipv6; // the address that filtering allows; empty: none
  uint64_t egress = 0;    // bits a second from the instance, 0: unlimited
  uint32_t priority = 0;  // of its packets, 0: the kernel's
  bool any() const noexcept { return mac_filtering || ipv4_filtering || ipv6_filtering || egress > 0 || priority > 0; }
};
/// Connections to one address of the host that are given to another; as many ports on both sides, or one.
struct nat_rule {
  proxy_address listen, connect;
};

/// One instance's tables, replaced in one transaction; without rules they are removed. `table` is unique to it. Nothing
/// of it needs the card to exist, so that no packet is before it. Thread-safe.
outcome<void> apply_rules(const std::string& table, const std::vector<nic_rules>& nics,
                          const std::vector<nat_rule>& nats);
/// The transaction, in nft's language.
outcome<std::string> rules_text(const std::string& table, const std::vector<nic_rules>& nics,
                                const std::vector<nat_rule>& nats);

} // namespace troupe
