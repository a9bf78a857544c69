#pragma once

#include <cstdint>
#include <string_view>

namespace troupe {

/// What a value of a bridge's config may be; `describe` says it in words, the check is in bridge_keys.cpp.
enum class key_kind : uint8_t {
  boolean,
  subnet_v4, // host address with prefix, "auto" or "none"
  subnet_v6,
  ip_v4,
  ranges_v4, // "first-last[,first-last]"
  ranges_v6,
  expiry, // "90", "30m", "1h", "2d", "1w", "infinite"
  mtu,
  hwaddr,
  domain,
  domain_list,
  dns_mode,
};

struct bridge_key {
  std::string_view name;
  key_kind kind;
  std::string_view fallback; // the value that holds when the key is not set
  bool live;                 // a change takes effect without restarting instances
  std::string_view meaning;
};

/// Every key a network of type bridge takes, besides user.*. Documentation is generated from this.
inline constexpr bridge_key bridge_keys[] = {
    {"bridge.hwaddr", key_kind::hwaddr, "", true,
     "MAC address of the bridge; not set: derived from name and addresses"},
    {"bridge.mtu", key_kind::mtu, "1500", true, "MTU of the bridge, also told to instances by DHCP"},
    {"dns.domain", key_kind::domain, "lxd", true, "Domain of the instances' DNS names"},
    {"dns.mode", key_kind::dns_mode, "managed", true,
     "managed: names of instances; dynamic: also names the clients send; none: no DNS server"},
    {"dns.search", key_kind::domain_list, "", true, "Search domains told by DHCP; not set: dns.domain"},
    {"ipv4.address", key_kind::subnet_v4, "none", true, "IPv4 address and subnet of the bridge (auto at creation)"},
    {"ipv4.dhcp", key_kind::boolean, "true", true, "Whether IPv4 addresses are given by DHCP"},
    {"ipv4.dhcp.expiry", key_kind::expiry, "1h", true, "Lifetime of an IPv4 lease, at least two minutes"},
    {"ipv4.dhcp.gateway", key_kind::ip_v4, "", true, "Gateway told by DHCP; not set: the bridge"},
    {"ipv4.dhcp.ranges", key_kind::ranges_v4, "", true, "Ranges given by DHCP; not set: the whole subnet"},
    {"ipv4.firewall", key_kind::boolean, "true", true, "Whether filter rules for IPv4 are made"},
    {"ipv4.nat", key_kind::boolean, "false", true, "Whether outgoing IPv4 is masqueraded (true at creation if auto)"},
    {"ipv4.routing", key_kind::boolean, "true", true, "Whether IPv4 is forwarded from and to the bridge"},
    {"ipv6.address", key_kind::subnet_v6, "none", true, "IPv6 address and subnet of the bridge (auto at creation)"},
    {"ipv6.dhcp", key_kind::boolean, "true", true, "Whether other settings are given by DHCPv6"},
    {"ipv6.dhcp.expiry", key_kind::expiry, "1h", true, "Lifetime of a DHCPv6 lease, at least two minutes"},
    {"ipv6.dhcp.ranges", key_kind::ranges_v6, "", true, "Ranges given by stateful DHCPv6; not set: the whole subnet"},
    {"ipv6.dhcp.stateful", key_kind::boolean, "false", true, "Whether IPv6 addresses are given by DHCPv6"},
    {"ipv6.firewall", key_kind::boolean, "true", true, "Whether filter rules for IPv6 are made"},
    {"ipv6.nat", key_kind::boolean, "false", true, "Whether outgoing IPv6 is masqueraded (true at creation if auto)"},
    {"ipv6.routing", key_kind::boolean, "true", true, "Whether IPv6 is forwarded from and to the bridge"},
};

/// Keys LXD documents for bridges and we do not implement; one ending in '.' stands for all keys it begins.
inline constexpr std::string_view bridge_keys_unsupported[] = {
    "bgp.",
    "bridge.driver",
    "bridge.external_interfaces",
    "bridge.mode",
    "dns.zone.forward",
    "dns.zone.reverse.ipv4",
    "dns.zone.reverse.ipv6",
    "fan.overlay_subnet",
    "fan.type",
    "fan.underlay_subnet",
    "ipv4.nat.address",
    "ipv4.nat.order",
    "ipv4.ovn.ranges",
    "ipv4.routes",
    "ipv6.nat.address",
    "ipv6.nat.order",
    "ipv6.ovn.ranges",
    "ipv6.routes",
    "maas.subnet.ipv4",
    "maas.subnet.ipv6",
    "raw.dnsmasq",
    "security.acls",
    "security.acls.",
    "tunnel.",
};

/// The row of a key, or null.
const bridge_key* find_bridge_key(std::string_view name) noexcept;
/// "a boolean", "an IPv4 address": for messages and documentation.
std::string_view describe(key_kind kind) noexcept;

} // namespace troupe
