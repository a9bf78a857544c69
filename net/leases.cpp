#include "net/leases.hpp"

#include "net/cidr.hpp"
#include "net/dhcp_files.hpp"
#include "net/names.hpp"

#include <algorithm>
#include <charconv>
#include <ctime>
#include <fcntl.h>
#include <optional>

namespace troupe {
namespace {

template <class Number>
bool parse_number(std::string_view text, Number& out) {
  auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), out);
  return code == std::errc{} && end == text.data() + text.size();
}

std::string unless_star(std::string_view word) { return word == "*" ? std::string{} : std::string{word}; }

/// Link-layer DUIDs (type 1 with a time, 3 without; hardware type 1) end in the MAC.
std::string hwaddr_of_duid(std::string_view duid) {
  bool with_time = duid.starts_with("00:01:00:01:") && duid.size() == 3 * 14 - 1;
  bool without = duid.starts_with("00:03:00:01:") && duid.size() == 3 * 10 - 1;
  auto tail = with_time || without ? duid.substr(duid.size() - 17) : std::string_view{};
  return is_hwaddr(tail) ? lower(tail) : std::string{};
}

/// v4: "expiry hwaddr address name client-id"; v6: "expiry [T]iaid address name duid".
std::optional<lease_row> parse_row(const std::vector<std::string_view>& words) {
  lease_row out;
  if (words.size() < 5 || !parse_number(words[0], out.expiry_unix_s)) return {};
  auto address = parse_ip(words[2]);
  if (!address) return {};
  out.v6 = address->family == AF_INET6;
  out.address = ip_text(*address);
  auto name = unless_star(words[3]);
  if (is_domain(name)) out.hostname = from_dnsmasq_name(name);
  out.client_id = unless_star(words[4]);
  if (!out.v6) {
    if (!is_hwaddr(words[1])) return {};
    out.hwaddr = lower(words[1]);
    return out;
  }
  out.temporary = words[1].starts_with('T');
  if (!parse_number(words[1].substr(out.temporary ? 1 : 0), out.iaid)) return {};
  out.hwaddr = hwaddr_of_duid(out.client_id);
  return out;
}

} // namespace

lease_file parse_leases(std::string_view text) {
  lease_file out;
  for (auto line : split_words(text, '\n')) {
    auto words = split_words(line, ' ');
    if (words.size() == 2 && words[0] == "duid")
      out.server_duid = words[1];
    else if (auto row = parse_row(words))
      out.rows.push_back(std::move(*row));
  }
  return out;
}

outcome<lease_file> read_leases(const std::string& dir) {
  auto text = read_small_file(AT_FDCWD, lease_path(dir));
  if (!text && text.error().code == fault::not_found) return lease_file{};
  if (!text) return tl::unexpected{text.error()};
  return parse_leases(*text);
}

std::string owner_of(const lease_row& row, const std::vector<dhcp_host>& hosts) {
  if (!row.hwaddr.empty() || row.hostname.empty()) return row.hwaddr;
  auto at = std::find_if(hosts.begin(), hosts.end(), [&](auto& host) { return host.hostname == row.hostname; });
  return at == hosts.end() ? std::string{} : lower(at->hwaddr);
}

outcome<std::vector<dhcp_lease>> list_leases(const std::string& dir) {
  auto hosts = list_dhcp_hosts(dir);
  if (!hosts) return tl::unexpected{hosts.error()};
  auto file = read_leases(dir);
  if (!file) return tl::unexpected{file.error()};

  std::vector<dhcp_lease> out;
  for (auto& host : *hosts)
    for (auto* address : {&host.ipv4, &host.ipv6})
      if (!address->empty()) out.push_back({host.hostname, lower(host.hwaddr), *address, true});
  auto now = static_cast<int64_t>(std::time(nullptr));
  for (auto& row : file->rows) {
    bool known = std::any_of(out.begin(), out.end(), [&](auto& lease) { return lease.address == row.address; });
    bool over = row.expiry_unix_s != 0 && row.expiry_unix_s < now;
    if (!known && !over) out.push_back({row.hostname, owner_of(row, *hosts), row.address, false});
  }
  return out;
}

} // namespace troupe
