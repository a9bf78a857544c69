#include "messages/unique_fd.hpp"
#include "net/cidr.hpp"
#include "net/dhcp_files.hpp"
#include "net/leases.hpp"
#include "net/names.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/random.h>
#include <sys/socket.h>

namespace troupe {
namespace {

using octets = std::vector<uint8_t>;

/// "01:ab:..." as bytes; empty if malformed.
octets from_hex(std::string_view text) {
  octets out;
  for (auto word : split_words(text, ':')) {
    uint8_t value = 0;
    auto [end, code] = std::from_chars(word.data(), word.data() + word.size(), value, 16);
    if (code != std::errc{} || end != word.data() + word.size()) return {};
    out.push_back(value);
  }
  return out;
}

void put(octets& to, const void* from, size_t size) {
  auto* bytes = static_cast<const uint8_t*>(from);
  to.insert(to.end(), bytes, bytes + size);
}
void put16(octets& to, size_t value) {
  to.push_back(static_cast<uint8_t>(value >> 8));
  to.push_back(static_cast<uint8_t>(value));
}
void put32(octets& to, uint32_t value) {
  put16(to, value >> 16);
  put16(to, value & 0xffff);
}

/// DHCPv4 options have a length of one byte.
void put_option(octets& to, uint8_t code, const void* from, size_t size) {
  to.push_back(code);
  to.push_back(static_cast<uint8_t>(size));
  put(to, from, size);
}
void put_option6(octets& to, uint16_t code, const octets& value) {
  put16(to, code);
  put16(to, value.size());
  put(to, value.data(), value.size());
}

uint32_t random_id() {
  uint32_t out = 0;
  return getrandom(&out, sizeof out, 0) == sizeof out ? out : 0x7465; // it only pairs answers, and there are none
}

/// RFC 2131: the fixed header, then message type, server and client identifiers.
octets release_v4(const lease_row& lease, const cidr& client, const cidr& server) {
  octets out{1, 1, 6, 0}; // BOOTREQUEST, Ethernet, six octets, no hops
  put32(out, random_id());
  put32(out, 0); // seconds, flags
  put(out, client.bytes.data(), 4);
  out.resize(out.size() + 12); // yiaddr, siaddr, giaddr
  auto hwaddr = from_hex(lease.hwaddr);
  hwaddr.resize(16);
  put(out, hwaddr.data(), hwaddr.size());
  out.resize(236);        // sname, file
  put32(out, 0x63825363); // magic cookie
  const uint8_t release = 7;
  put_option(out, 53, &release, 1);
  put_option(out, 54, server.bytes.data(), 4);
  auto id = from_hex(lease.client_id);
  if (!id.empty() && id.size() < 256) put_option(out, 61, id.data(), id.size());
  out.push_back(255);
  out.resize(std::max<size_t>(out.size(), 300)); // what BOOTP relays and servers expect at least
  return out;
}

/// RFC 8415: client and server DUID, elapsed time, and the association with its address.
octets release_v6(const lease_row& lease, const cidr& client, const octets& server_duid) {
  octets out{8}; // RELEASE
  auto id = random_id();
  put(out, &id, 3);
  put_option6(out, 1, from_hex(lease.client_id));
  put_option6(out, 2, server_duid);
  put_option6(out, 8, {0, 0});
  octets address;
  put(address, client.bytes.data(), 16);
  put32(address, 0); // preferred and valid lifetime
  put32(address, 0);
  octets association;
  put32(association, lease.iaid);
  if (!lease.temporary) {
    put32(association, 0); // T1, T2
    put32(association, 0);
  }
  put_option6(association, 5, address);
  put_option6(out, lease.temporary ? 4 : 3, association);
  return out;
}

outcome<void> send_on(const std::string& bridge, const octets& packet, const sockaddr* to, socklen_t size) {
  unique_fd fd{socket(to->sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  if (!fd) return fail_errno(errno, "Cannot open a socket to release a lease");
  // Bound to the bridge, so that dnsmasq sees the packet come in there although it comes from this host.
  if (setsockopt(fd.get(), SOL_SOCKET, SO_BINDTODEVICE, bridge.c_str(), static_cast<socklen_t>(bridge.size())) != 0) {
    if (errno == ENODEV) return {};
    return fail_errno(errno, "Cannot release a lease on " + bridge);
  }
  if (sendto(fd.get(), packet.data(), packet.size(), MSG_DONTWAIT, to, size) < 0)
    return fail_errno(errno, "Cannot release a lease on " + bridge);
  return {};
}

outcome<void> send_v4(const bridge_plan& plan, const lease_row& lease) {
  auto server = parse_cidr(plan.ipv4, AF_INET);
  auto client = parse_ip(lease.address, AF_INET);
  if (!server || !client) return {}; // a lease from before the bridge lost its address
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(67);
  std::memcpy(&to.sin_addr, server->bytes.data(), 4);
  return send_on(plan.name, release_v4(lease, *client, *server), reinterpret_cast<sockaddr*>(&to), sizeof to);
}

outcome<void> send_v6(const bridge_plan& plan, const lease_row& lease, const octets& server_duid) {
  auto client = parse_ip(lease.address, AF_INET6);
  unsigned index = if_nametoindex(plan.name.c_str());
  if (!client || plan.ipv6.empty() || server_duid.empty() || from_hex(lease.client_id).empty() || index == 0) return {};
  sockaddr_in6 to{};
  to.sin6_family = AF_INET6;
  to.sin6_port = htons(547);
  to.sin6_scope_id = index;
  inet_pton(AF_INET6, "ff02::1:2", &to.sin6_addr); // all DHCP servers and relays of the link
  return send_on(plan.name, release_v6(lease, *client, server_duid), reinterpret_cast<sockaddr*>(&to), sizeof to);
}

} // namespace

outcome<void> release_lease(const bridge_plan& plan, const std::string& dir, const std::string& hwaddr) {
  if (!is_interface_name(plan.name)) return fail(fault::invalid, "The bridge's name is malformed");
  if (!is_hwaddr(hwaddr)) return fail(fault::invalid, "The MAC address of a lease is malformed");
  auto file = read_leases(dir);
  if (!file) return tl::unexpected{file.error()};
  auto hosts = list_dhcp_hosts(dir);
  if (!hosts) return tl::unexpected{hosts.error()};
  auto server_duid = from_hex(file->server_duid);
  for (auto& row : file->rows) {
    if (owner_of(row, *hosts) != lower(hwaddr)) continue;
    auto ok = row.v6 ? send_v6(plan, row, server_duid) : send_v4(plan, row);
    if (!ok) return ok;
  }
  return {};
}

} // namespace troupe
