#include "net/bridge_keys.hpp"

#include "net/bridge.hpp"
#include "net/cidr.hpp"
#include "net/names.hpp"
#include "net/ranges.hpp"

#include <algorithm>
#include <charconv>
#include <iterator>

namespace troupe {
namespace {

bool is_boolean(std::string_view value) {
  static constexpr std::string_view words[] = {"true", "false", "1", "0", "yes", "no", "on", "off"};
  return std::find(std::begin(words), std::end(words), lower(value)) != std::end(words);
}

/// A host's address in a subnet: not the subnet's own (first) address, not the broadcast address.
bool is_subnet(std::string_view value, int family) {
  if (value == "auto" || value == "none") return true;
  auto parsed = parse_cidr(value, family);
  if (!parsed || parsed->prefix == 0 || parsed->prefix > parsed->width() - 1) return false;
  if (parsed->bytes == network_of(*parsed).bytes) return false;
  if (family == AF_INET) {
    uint8_t first = parsed->bytes[0];
    return first != 0 && first != 127 && first < 224 && parsed->bytes != nth_address(*parsed, -1).bytes;
  }
  // Multicast and link-local subnets are the kernel's own business.
  return parsed->bytes[0] != 0xff && !(parsed->bytes[0] == 0xfe && (parsed->bytes[1] & 0xc0) == 0x80);
}

bool is_expiry(std::string_view value) {
  if (value == "infinite") return true;
  constexpr std::string_view units = "smhdw";
  if (!value.empty() && units.find(value.back()) != units.npos) value.remove_suffix(1);
  auto digit = [](char c) { return c >= '0' && c <= '9'; };
  return !value.empty() && value.size() <= 6 && std::all_of(value.begin(), value.end(), digit) &&
         value.find_first_not_of('0') != value.npos;
}

bool is_mtu(std::string_view value) {
  unsigned number = 0;
  auto [end, code] = std::from_chars(value.data(), value.data() + value.size(), number);
  return code == std::errc{} && end == value.data() + value.size() && number >= 1280 && number <= 16384;
}

bool is_dns_mode(std::string_view value) { return value == "managed" || value == "dynamic" || value == "none"; }

bool is_domain_list(std::string_view value) {
  auto parts = split_list(value);
  return parts.size() <= 16 && std::all_of(parts.begin(), parts.end(), is_domain);
}

struct kind_row {
  key_kind kind;
  std::string_view words;
  bool (*check)(std::string_view);
};

constexpr kind_row kinds[] = {
    {key_kind::boolean, "a boolean", is_boolean},
    {key_kind::subnet_v4, "an IPv4 host address with a prefix length, \"auto\" or \"none\"",
     [](std::string_view v) { return is_subnet(v, AF_INET); }},
    {key_kind::subnet_v6, "an IPv6 host address with a prefix length, \"auto\" or \"none\"",
     [](std::string_view v) { return is_subnet(v, AF_INET6); }},
    {key_kind::ip_v4, "an IPv4 address", [](std::string_view v) { return parse_ip(v, AF_INET).has_value(); }},
    {key_kind::ranges_v4, "a list of IPv4 ranges (FIRST-LAST, separated by commas)",
     [](std::string_view v) { return parse_ranges(v, AF_INET).has_value(); }},
    {key_kind::ranges_v6, "a list of IPv6 ranges (FIRST-LAST, separated by commas)",
     [](std::string_view v) { return parse_ranges(v, AF_INET6).has_value(); }},
    {key_kind::expiry, "a lease time such as 30m, 1h, 2d or \"infinite\"", is_expiry},
    {key_kind::mtu, "a number from 1280 to 16384", is_mtu},
    {key_kind::hwaddr, "a unicast MAC address", is_hwaddr},
    {key_kind::domain, "a domain name", is_domain},
    {key_kind::domain_list, "a list of at most 16 domain names separated by commas", is_domain_list},
    {key_kind::dns_mode, "\"managed\", \"dynamic\" or \"none\"", is_dns_mode},
};

const kind_row& row_of(key_kind kind) noexcept {
  return *std::find_if(std::begin(kinds), std::end(kinds), [kind](const kind_row& row) { return row.kind == kind; });
}

bool is_unsupported(std::string_view key) {
  return std::any_of(std::begin(bridge_keys_unsupported), std::end(bridge_keys_unsupported), [key](auto known) {
    return known.ends_with('.') ? key.size() > known.size() && key.starts_with(known) : key == known;
  });
}

/// A foreign key in a message: without control characters and not too long.
std::string quoted(std::string_view key) {
  std::string out{key.substr(0, 64)};
  for (char& c : out)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  return '"' + out + '"';
}

outcome<void> check_entry(std::string_view key, std::string_view value) {
  if (key.starts_with("user.") && key.size() > 5 && key.find_first_of(std::string_view{"\0\n\r", 3}) == key.npos)
    return {};
  auto* row = find_bridge_key(key);
  if (row == nullptr) {
    if (is_unsupported(key)) return fail(fault::unsupported, "Network key " + quoted(key) + " is not supported yet");
    return fail(fault::invalid, "Unknown network key " + quoted(key));
  }
  if (value.empty()) return {}; // as if not set
  auto& kind = row_of(row->kind);
  if (kind.check(value)) return {};
  return fail(fault::invalid, "Value of \"" + std::string{key} + "\" must be " + std::string{kind.words});
}

outcome<void> check_within(std::string_view key, std::string_view value, const cidr& subnet) {
  auto ranges = parse_ranges(value, subnet.family);
  if (!ranges) return {}; // not set
  for (auto& range : *ranges)
    if (!overlap(range.first, subnet) || !overlap(range.last, subnet))
      return fail(fault::invalid,
                  "\"" + std::string{key} + "\" is outside of the bridge's subnet " + cidr_text(network_of(subnet)));
  return {};
}

bool on(const config_map& config, std::string_view key) {
  auto value = get(config, key);
  return is_true(value.empty() ? find_bridge_key(key)->fallback : value);
}

outcome<void> check_v4(const config_map& config) {
  auto subnet = parse_cidr(get(config, "ipv4.address"), AF_INET);
  if (!subnet) return {}; // auto or none: there is nothing to contradict
  if (auto ok = check_within("ipv4.dhcp.ranges", get(config, "ipv4.dhcp.ranges"), *subnet); !ok) return ok;
  if (on(config, "ipv4.dhcp") && subnet->prefix > 30)
    return fail(fault::invalid, "The subnet of \"ipv4.address\" is too small for DHCP");
  if (subnet->prefix < 8) return fail(fault::invalid, "The subnet of \"ipv4.address\" is larger than a /8");
  auto gateway = parse_ip(get(config, "ipv4.dhcp.gateway"), AF_INET);
  if (gateway && !overlap(*gateway, *subnet))
    return fail(fault::invalid, "\"ipv4.dhcp.gateway\" is outside of the bridge's subnet");
  return {};
}

outcome<void> check_v6(const config_map& config) {
  auto subnet = parse_cidr(get(config, "ipv6.address"), AF_INET6);
  if (!subnet) return {};
  if (auto ok = check_within("ipv6.dhcp.ranges", get(config, "ipv6.dhcp.ranges"), *subnet); !ok) return ok;
  bool stateful = on(config, "ipv6.dhcp") && on(config, "ipv6.dhcp.stateful");
  if (!stateful && subnet->prefix != 64)
    return fail(fault::invalid, "\"ipv6.address\" must have a /64 subnet unless DHCPv6 is stateful");
  if (stateful && (subnet->prefix < 64 || subnet->prefix > 125))
    return fail(fault::invalid, "\"ipv6.address\" must have a subnet from /64 to /125 for stateful DHCPv6");
  return {};
}

} // namespace

const bridge_key* find_bridge_key(std::string_view name) noexcept {
  auto at =
      std::find_if(std::begin(bridge_keys), std::end(bridge_keys), [name](auto& row) { return row.name == name; });
  return at == std::end(bridge_keys) ? nullptr : at;
}

std::string_view describe(key_kind kind) noexcept { return row_of(kind).words; }

outcome<void> check_bridge_config(const config_map& config) {
  for (auto& [key, value] : config)
    if (auto ok = check_entry(key, value); !ok) return ok;
  if (auto ok = check_v4(config); !ok) return ok;
  return check_v6(config);
}

} // namespace troupe
