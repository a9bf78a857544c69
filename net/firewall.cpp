#include "net/bridge.hpp"
#include "net/cidr.hpp"
#include "net/names.hpp"
#include "net/nft.hpp"

#include <algorithm>
#include <map>
#include <mutex>

namespace troupe {
namespace {

/// What differs between the families in a rule.
struct family_words {
  const char* protocol; // of meta nfproto
  const char* address;  // ip or ip6
  const char* icmp;     // match of the control protocol
  const char* dhcp_port;
};

constexpr family_words words_v4{"ipv4", "ip", "ip protocol icmp", "67"};
constexpr family_words words_v6{"ipv6", "ip6", "meta l4proto ipv6-icmp", "547"};

struct chains {
  std::string input, forward, postrouting;
};

struct family_wish {
  const std::string& bridge;
  const std::string& address;
  bool nat, dhcp, routing, firewall, dns;
};

/// Input accepts what instances need of the host; other chains of the host may still refuse the rest. Forwarding is
/// accepted both ways, or refused both ways where routing is off.
void add_filters(chains& to, const family_words& words, const family_wish& wish) {
  const std::string in = "    iifname \"" + wish.bridge + "\" meta nfproto " + words.protocol + " ";
  const std::string out = "    oifname \"" + wish.bridge + "\" meta nfproto " + words.protocol + " ";
  to.input += in + words.icmp + " accept\n";
  if (wish.dhcp) to.input += in + "udp dport " + words.dhcp_port + " accept\n";
  if (wish.dns) to.input += in + "udp dport 53 accept\n" + in + "tcp dport 53 accept\n";
  const char* verdict = wish.routing ? "accept\n" : "reject\n";
  to.forward += in + verdict + out + verdict;
}

outcome<void> add_family(chains& to, const family_words& words, const family_wish& wish, int family) {
  if (wish.address.empty()) return {};
  auto subnet = parse_cidr(wish.address, family);
  if (!subnet) return fail(fault::invalid, "The bridge's address is malformed");
  if (wish.firewall) add_filters(to, words, wish);
  auto net = cidr_text(network_of(*subnet));
  if (wish.nat)
    to.postrouting += std::string{"    "} + words.address + " saddr " + net + " " + words.address + " daddr != " + net +
                      " masquerade\n";
  return {};
}

std::string chain(const char* name, const char* hook, const std::string& rules) {
  return std::string{"  chain "} + name + " {\n    type " + hook + "; policy accept;\n" + rules + "  }\n";
}

bool is_table_name(const std::string& name) { return is_host_label(name) && !(name[0] >= '0' && name[0] <= '9'); }

std::mutex serial; // also guards `applied`: two transactions of one table must not overtake each other

std::map<std::string, std::string>& applied() {
  static std::map<std::string, std::string> texts;
  return texts;
}

} // namespace

outcome<std::string> firewall_text(const std::string& table, const std::vector<bridge_plan>& bridges) {
  if (!is_table_name(table)) return fail(fault::invalid, "The name of the firewall table is malformed");
  chains rules;
  for (auto& plan : bridges) {
    if (!is_interface_name(plan.name)) return fail(fault::invalid, "The bridge's name is malformed");
    bool dns = plan.dns_mode != "none";
    family_wish v4{plan.name, plan.ipv4, plan.ipv4_nat, plan.ipv4_dhcp, plan.ipv4_routing, plan.ipv4_firewall, dns};
    family_wish v6{plan.name, plan.ipv6, plan.ipv6_nat, plan.ipv6_dhcp, plan.ipv6_routing, plan.ipv6_firewall, dns};
    if (auto ok = add_family(rules, words_v4, v4, AF_INET); !ok) return tl::unexpected{ok.error()};
    if (auto ok = add_family(rules, words_v6, v6, AF_INET6); !ok) return tl::unexpected{ok.error()};
  }
  // Adding first makes the deletion succeed whether or not the table is there.
  std::string out = "add table inet " + table + "\ndelete table inet " + table + "\n";
  if (bridges.empty()) return out;
  return out + "table inet " + table + " {\n" + chain("input", "filter hook input priority filter", rules.input) +
         chain("forward", "filter hook forward priority filter", rules.forward) +
         chain("postrouting", "nat hook postrouting priority srcnat", rules.postrouting) + "}\n";
}

outcome<void> apply_firewall(const std::string& table, const std::vector<bridge_plan>& bridges) {
  auto text = firewall_text(table, bridges);
  if (!text) return tl::unexpected{text.error()};
  std::lock_guard lock{serial};
  auto& last = applied()[table];
  if (last == *text) return {};
  if (auto ok = run_nft(*text); !ok) {
    last.clear(); // nothing was changed, but say so to nobody: the next call tries again
    return ok;
  }
  last = *text;
  return {};
}

} // namespace troupe
