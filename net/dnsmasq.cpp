#include "net/cidr.hpp"
#include "net/dhcp.hpp"
#include "net/dhcp_files.hpp"
#include "net/names.hpp"
#include "net/ranges.hpp"

#include <unistd.h>

namespace troupe {
namespace {

using arguments = std::vector<std::string>;

outcome<std::string> find_dnsmasq() {
  for (const char* path : {"/usr/sbin/dnsmasq", "/usr/bin/dnsmasq", "/sbin/dnsmasq"})
    if (access(path, X_OK) == 0) return path;
  return fail(fault::unsupported, "The host has no dnsmasq, install dnsmasq-base");
}

bool has_dns(const bridge_plan& plan) { return plan.dns_mode != "none" && !(plan.ipv4.empty() && plan.ipv6.empty()); }
bool gives_v4(const bridge_plan& plan) { return plan.ipv4_dhcp && !plan.ipv4.empty(); }
bool is_needed(const bridge_plan& plan) { return has_dns(plan) || gives_v4(plan) || !plan.ipv6.empty(); }

std::string joined(const std::vector<std::string>& parts) {
  std::string out;
  for (auto& part : parts) out += (out.empty() ? "" : ",") + part;
  return out;
}

/// "first,last" of each range, or of the whole subnet but its first and the bridge's usual address.
std::vector<std::string> range_pairs(const std::string& ranges, const std::string& address, int last) {
  std::vector<std::string> out;
  auto subnet = parse_cidr(address);
  if (!subnet) return out;
  if (ranges.empty()) return {ip_text(nth_address(*subnet, 2)) + "," + ip_text(nth_address(*subnet, last))};
  auto parsed = parse_ranges(ranges, subnet->family);
  if (!parsed) return out;
  for (auto& range : *parsed) out.push_back(ip_text(range.first) + "," + ip_text(range.last));
  return out;
}

std::string ip_of(const std::string& address) { return address.substr(0, address.find('/')); }

void add_common(arguments& to, const bridge_plan& plan, const std::string& dir, const dhcp_account& account) {
  to.insert(to.end(), {"--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--log-facility=-",
                       "--bind-interfaces", "--except-interface=lo", "--interface=" + plan.name, "--no-ping",
                       "--quiet-dhcp", "--quiet-dhcp6", "--quiet-ra", "--dhcp-no-override", "--dhcp-authoritative",
                       "--dhcp-rapid-commit", "--dhcp-leasefile=" + lease_path(dir),
                       "--dhcp-hostsdir=" + hosts_path(dir), "--user=" + account.user, "--group=" + account.group});
  for (auto* address : {&plan.ipv4, &plan.ipv6})
    if (!address->empty()) to.push_back("--listen-address=" + ip_of(*address));
}

/// The host's own /etc/hosts stays out: its names are none of the instances' business, and would win over theirs.
void add_dns(arguments& to, const bridge_plan& plan) {
  if (!has_dns(plan)) {
    to.push_back("--port=0");
    return;
  }
  to.insert(to.end(), {"--no-hosts", "--domain=" + plan.domain, "--local=/" + plan.domain + "/",
                       "--interface-name=_gateway." + plan.domain + "," + plan.name});
  if (plan.dns_mode == "managed") to.push_back("--dhcp-ignore-names"); // a client cannot take another one's name
}

void add_v4(arguments& to, const bridge_plan& plan) {
  if (!gives_v4(plan)) return;
  for (auto& pair : range_pairs(plan.ipv4_ranges, plan.ipv4, -2))
    to.push_back("--dhcp-range=" + pair + "," + plan.ipv4_expiry);
  if (!plan.ipv4_gateway.empty()) to.push_back("--dhcp-option-force=option:router," + plan.ipv4_gateway);
  if (plan.mtu != 1500) to.push_back("--dhcp-option-force=option:mtu," + std::to_string(plan.mtu));
  if (!plan.dns_search.empty()) to.push_back("--dhcp-option-force=option:domain-search," + joined(plan.dns_search));
}

/// Router advertisements in every case: without them instances would have no route.
void add_v6(arguments& to, const bridge_plan& plan) {
  auto subnet = parse_cidr(plan.ipv6, AF_INET6);
  if (!subnet) return;
  to.push_back("--enable-ra");
  const std::string whole = "--dhcp-range=::,constructor:" + plan.name;
  if (!plan.ipv6_dhcp) {
    to.push_back(whole + ",ra-only,ra-names");
  } else if (!plan.ipv6_stateful) {
    to.push_back(whole + ",ra-stateless,ra-names");
  } else {
    for (auto& pair : range_pairs(plan.ipv6_ranges, plan.ipv6, -1))
      to.push_back("--dhcp-range=" + pair + "," + std::to_string(subnet->prefix) + "," + plan.ipv6_expiry);
  }
  if (!plan.dns_search.empty()) to.push_back("--dhcp-option-force=option6:domain-search," + joined(plan.dns_search));
}

/// The folder's name becomes part of arguments in which commas and quotes have a meaning to dnsmasq.
bool is_plain_path(const std::string& dir) {
  return dir.starts_with('/') && dir.find_first_of(std::string_view{",\"\\ \t\r\n\0", 8}) == dir.npos;
}

} // namespace

outcome<arguments> dnsmasq_command(const bridge_plan& plan, const std::string& dir) {
  if (!is_interface_name(plan.name)) return fail(fault::invalid, "The bridge's name is malformed");
  if (!is_needed(plan)) return arguments{};
  if (!is_plain_path(dir))
    return fail(fault::invalid, "The network's folder must be absolute and without spaces and commas");
  auto program = find_dnsmasq();
  if (!program) return tl::unexpected{program.error()};
  auto account = find_dhcp_account();
  if (!account) return tl::unexpected{account.error()};
  if (auto ok = prepare_dhcp_dir(dir, *account); !ok) return tl::unexpected{ok.error()};
  arguments out{*program};
  add_common(out, plan, dir, *account);
  add_dns(out, plan);
  add_v4(out, plan);
  add_v6(out, plan);
  return out;
}

} // namespace troupe
