#include "net/nic_rules.hpp"

#include "net/cidr.hpp"
#include "net/names.hpp"
#include "net/nft.hpp"

#include <algorithm>
#include <array>
#include <cstdio>

namespace troupe {
namespace {

constexpr uint64_t burst_min = 64 << 10; // bytes

bool is_table_name(const std::string& name) {
  return !name.empty() && name.size() <= 200 &&
         std::all_of(name.begin(), name.end(),
                     [](char c) {
                       return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                              c == '_' || c == '.';
                     }) &&
         !(name[0] >= '0' && name[0] <= '9') && name[0] != '-' && name[0] != '.';
}

/// The link-local address that the kernel makes of a MAC.
cidr link_local(const std::string& hwaddr) {
  std::array<unsigned, 6> m{};
  std::sscanf(hwaddr.c_str(), "%x:%x:%x:%x:%x:%x", &m[0], &m[1], &m[2], &m[3], &m[4], &m[5]);
  cidr out;
  out.family = AF_INET6;
  out.prefix = 128;
  out.bytes = {0xfe,
               0x80,
               0,
               0,
               0,
               0,
               0,
               0,
               static_cast<uint8_t>(m[0] ^ 2),
               static_cast<uint8_t>(m[1]),
               static_cast<uint8_t>(m[2]),
               0xff,
               0xfe,
               static_cast<uint8_t>(m[3]),
               static_cast<uint8_t>(m[4]),
               static_cast<uint8_t>(m[5])};
  return out;
}

std::string raw(const cidr& address) {
  std::string out = "0x";
  char part[3];
  for (auto byte : address.bytes) {
    std::snprintf(part, sizeof part, "%02x", byte);
    out += part;
  }
  return out;
}

outcome<void> add_ipv4(std::string& to, const std::string& in, const nic_rules& nic) {
  to += in + "ether type arp arp saddr ether != " + nic.hwaddr + " drop\n";
  if (nic.ipv4.empty()) {
    to += in + "ether type arp drop\n" + in + "ether type ip drop\n";
    return {};
  }
  auto address = parse_ip(nic.ipv4, AF_INET);
  if (!address) return fail(fault::invalid, "Malformed address: " + nic.ipv4);
  auto text = ip_text(*address);
  to += in + "ether type arp arp saddr ip != { " + text + ", 0.0.0.0 } drop\n";
  to += in + "ip saddr 0.0.0.0 ip daddr 255.255.255.255 udp dport 67 accept\n";
  to += in + "ether type ip ip saddr != " + text + " drop\n";
  return {};
}

outcome<void> add_ipv6(std::string& to, const std::string& in, const nic_rules& nic) {
  to += in + "icmpv6 type nd-router-advert drop\n";
  if (nic.ipv6.empty()) {
    to += in + "ether type ip6 drop\n";
    return {};
  }
  auto address = parse_ip(nic.ipv6, AF_INET6);
  if (!address) return fail(fault::invalid, "Malformed address: " + nic.ipv6);
  auto local = link_local(nic.hwaddr);
  to += in + "ether type ip6 ip6 saddr != { " + ip_text(*address) + ", " + ip_text(local) + ", :: } drop\n";
  // What a neighbour advertisement is about stands behind eight bytes of its header.
  to +=
      in + "icmpv6 type nd-neighbor-advert @th,64,128 != " + raw(*address) + " @th,64,128 != " + raw(local) + " drop\n";
  return {};
}

struct texts {
  std::string bridge, inet, nat_in, nat_out, nat_after;
};

outcome<void> add_nic(texts& to, const nic_rules& nic) {
  if (!nic.any()) return {};
  if (!is_interface_name(nic.host_name) || !is_hwaddr(nic.hwaddr))
    return fail(fault::invalid, "The card's name or MAC is malformed");
  auto in = "    iifname \"" + nic.host_name + "\" ";
  auto& rules = nic.bridged ? to.bridge : to.inet;
  if (nic.egress > 0) {
    auto bytes = std::max<uint64_t>(nic.egress / 8, 1);
    rules += in + "limit rate over " + std::to_string(bytes) + " bytes/second burst " +
             std::to_string(std::max(burst_min, bytes / 10)) + " bytes drop\n";
  }
  if (nic.priority > 0) {
    char text[32];
    std::snprintf(text, sizeof text, "%x:%x", nic.priority >> 16, nic.priority & 0xffff);
    rules += in + "meta priority set " + text + "\n";
  }
  bool mac = nic.mac_filtering || nic.ipv4_filtering || nic.ipv6_filtering;
  if (mac) rules += in + "ether saddr != " + lower(nic.hwaddr) + " drop\n";
  outcome<void> done;
  // IPv6 first: who may not send IPv4 at all is asked last.
  if (nic.ipv6_filtering) done = add_ipv6(rules, in, nic);
  if (done && nic.ipv4_filtering) done = add_ipv4(rules, in, nic);
  // A tag before the IP header hides it from the rules above.
  if (nic.ipv4_filtering || nic.ipv6_filtering) rules += in + "ether type != { arp, ip, ip6 } drop\n";
  return done;
}

std::string with_port(const proxy_address& to, uint16_t port) {
  bool v6 = to.host.find(':') != to.host.npos;
  return (v6 ? "ip6 to [" + to.host + "]" : "ip to " + to.host) + ":" + std::to_string(port);
}

outcome<void> add_nat(texts& to, const nat_rule& nat) {
  bool v6 = nat.listen.host.find(':') != nat.listen.host.npos;
  if (nat.listen.is_unix() || nat.connect.is_unix() || v6 != (nat.connect.host.find(':') != nat.connect.host.npos))
    return fail(fault::invalid, "Both sides of \"nat\" must be addresses of one family");
  std::string family = v6 ? "ip6" : "ip", protocol = nat.listen.what == proxy_address::kind::tcp ? "tcp" : "udp";
  for (size_t i = 0; i < nat.listen.ports.size(); ++i) {
    auto port = nat.connect.ports.size() == 1 ? nat.connect.ports[0] : nat.connect.ports.at(i);
    auto any = nat.listen.host == "0.0.0.0" || nat.listen.host == "::";
    auto match = std::string{"    "} +
                 (any ? "fib daddr type local meta nfproto " + std::string{v6 ? "ipv6" : "ipv4"}
                      : family + " daddr " + nat.listen.host) +
                 " " + protocol + " dport " + std::to_string(nat.listen.ports[i]) + " dnat " +
                 with_port(nat.connect, port);
    to.nat_in += match + "\n";
    to.nat_out += match + "\n";
  }
  // From the instance to itself, and from the host's loopback: the answer must come back the same way.
  to.nat_after +=
      "    " + family + " saddr " + nat.connect.host + " " + family + " daddr " + nat.connect.host + " masquerade\n";
  return {};
}

std::string chain(const char* name, const char* hook, const std::string& rules) {
  return rules.empty()
             ? ""
             : std::string{"  chain "} + name + " {\n    type " + hook + "; policy accept;\n" + rules + "  }\n";
}

/// Adding first makes the deletion succeed whether or not the table is there.
std::string replace(const std::string& family, const std::string& table, const std::string& chains) {
  auto name = family + " " + table;
  auto out = "add table " + name + "\ndelete table " + name + "\n";
  return chains.empty() ? out : out + "table " + name + " {\n" + chains + "}\n";
}

} // namespace

outcome<std::string> rules_text(const std::string& table, const std::vector<nic_rules>& nics,
                                const std::vector<nat_rule>& nats) {
  if (!is_table_name(table)) return fail(fault::invalid, "The name of the firewall table is malformed");
  texts all;
  for (auto& nic : nics)
    if (auto done = add_nic(all, nic); !done) return tl::unexpected{done.error()};
  for (auto& nat : nats)
    if (auto done = add_nat(all, nat); !done) return tl::unexpected{done.error()};
  return replace("bridge", table, chain("from", "filter hook prerouting priority -300", all.bridge)) +
         replace("inet", table,
                 chain("from", "filter hook prerouting priority -300", all.inet) +
                     chain("natin", "nat hook prerouting priority -100", all.nat_in) +
                     chain("natout", "nat hook output priority -100", all.nat_out) +
                     chain("natafter", "nat hook postrouting priority 100", all.nat_after));
}

outcome<void> apply_rules(const std::string& table, const std::vector<nic_rules>& nics,
                          const std::vector<nat_rule>& nats) {
  auto text = rules_text(table, nics, nats);
  if (!text) return tl::unexpected{text.error()};
  return run_nft(*text);
}

} // namespace troupe
