#include "runtime/listen_address.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <charconv>
#include <cstring>
#include <ifaddrs.h>
#include <memory>
#include <net/if.h>
#include <netinet/in.h>
#include <optional>

namespace troupe {
namespace {

sockaddr_in& v4(sockaddr_storage& of) { return reinterpret_cast<sockaddr_in&>(of); }
const sockaddr_in& v4(const sockaddr_storage& of) { return reinterpret_cast<const sockaddr_in&>(of); }
sockaddr_in6& v6(sockaddr_storage& of) { return reinterpret_cast<sockaddr_in6&>(of); }
const sockaddr_in6& v6(const sockaddr_storage& of) { return reinterpret_cast<const sockaddr_in6&>(of); }

std::optional<sockaddr_storage> numeric(const std::string& host, uint16_t port) {
  sockaddr_storage out{};
  if (inet_pton(AF_INET, host.c_str(), &v4(out).sin_addr) == 1) {
    v4(out).sin_family = AF_INET;
    v4(out).sin_port = htons(port);
    return out;
  }
  if (inet_pton(AF_INET6, host.c_str(), &v6(out).sin6_addr) == 1) {
    v6(out).sin6_family = AF_INET6;
    v6(out).sin6_port = htons(port);
    return out;
  }
  return std::nullopt;
}

std::optional<uint16_t> port_of(std::string_view text) {
  uint16_t port = 0;
  auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (problem != std::errc{} || end != text.data() + text.size() || port == 0) return std::nullopt;
  return port;
}

std::string_view trimmed(std::string_view text) {
  while (text.starts_with(' ')) text.remove_prefix(1);
  while (text.ends_with(' ')) text.remove_suffix(1);
  return text;
}

std::optional<listen_address> parse_one(std::string_view text, uint16_t port) {
  auto host = std::string{text};
  auto colon = text.rfind(':');
  bool bracketed = text.starts_with('[');
  bool bare_v6 = !bracketed && std::count(text.begin(), text.end(), ':') > 1;
  if (colon != text.npos && !bare_v6 && !(bracketed && text.ends_with(']'))) {
    auto given = port_of(text.substr(colon + 1));
    if (!given) return std::nullopt;
    port = *given;
    host = text.substr(0, colon);
  }
  if (bracketed) {
    if (!host.ends_with(']')) return std::nullopt;
    host = host.substr(1, host.size() - 2);
  }
  auto socket = numeric(host.empty() ? "::" : host, port);
  if (!socket) return std::nullopt;
  return listen_address{*socket, to_string(*socket)};
}

} // namespace

bool listen_address::is_wildcard() const {
  if (socket.ss_family == AF_INET) return v4(socket).sin_addr.s_addr == INADDR_ANY;
  return IN6_IS_ADDR_UNSPECIFIED(&v6(socket).sin6_addr);
}

uint16_t listen_address::port() const {
  return ntohs(socket.ss_family == AF_INET ? v4(socket).sin_port : v6(socket).sin6_port);
}

outcome<std::vector<listen_address>> parse_listen_addresses(std::string_view list, uint16_t default_port) {
  std::vector<listen_address> out;
  for (size_t at = 0; !list.empty() && at <= list.size();) {
    auto comma = std::min(list.find(',', at), list.size());
    auto text = trimmed(list.substr(at, comma - at));
    at = comma + 1;
    auto parsed = parse_one(text, default_port);
    if (text.empty() || !parsed)
      return fail(fault::invalid, "\"" + std::string{text} +
                                      "\" is not an address to listen on: it must be IP:PORT, "
                                      "[IPV6]:PORT or :PORT");
    auto same = [&](const listen_address& other) { return other.text == parsed->text; };
    if (std::any_of(out.begin(), out.end(), same)) return fail(fault::invalid, parsed->text + " is given twice");
    out.push_back(std::move(*parsed));
  }
  return out;
}

std::string to_string(const sockaddr_storage& address) {
  char host[INET6_ADDRSTRLEN] = {};
  if (address.ss_family == AF_INET) {
    inet_ntop(AF_INET, &v4(address).sin_addr, host, sizeof host);
    return std::string{host} + ':' + std::to_string(ntohs(v4(address).sin_port));
  }
  auto& ip = v6(address).sin6_addr;
  auto port = ':' + std::to_string(ntohs(v6(address).sin6_port));
  if (IN6_IS_ADDR_V4MAPPED(&ip)) {
    inet_ntop(AF_INET, reinterpret_cast<const char*>(&ip) + 12, host, sizeof host);
    return host + port;
  }
  inet_ntop(AF_INET6, &ip, host, sizeof host);
  return '[' + std::string{host} + ']' + port;
}

std::string host_of(std::string_view address) {
  if (address.starts_with('[')) return std::string{address.substr(1, address.find(']') - 1)};
  if (std::count(address.begin(), address.end(), ':') > 1) return std::string{address};
  return std::string{address.substr(0, address.find(':'))};
}

bool is_ip(std::string_view text) { return numeric(std::string{text}, 0).has_value(); }

std::vector<std::string> host_addresses() {
  std::vector<std::string> out;
  ifaddrs* all = nullptr;
  if (getifaddrs(&all) != 0) return out;
  std::unique_ptr<ifaddrs, decltype(&freeifaddrs)> freed{all, freeifaddrs};
  for (auto* one = all; one; one = one->ifa_next) {
    if (!one->ifa_addr || (one->ifa_flags & IFF_LOOPBACK) || !(one->ifa_flags & IFF_UP)) continue;
    sockaddr_storage address{};
    auto family = one->ifa_addr->sa_family;
    if (family != AF_INET && family != AF_INET6) continue;
    memcpy(&address, one->ifa_addr, family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6));
    if (family == AF_INET6 && IN6_IS_ADDR_LINKLOCAL(&v6(address).sin6_addr)) continue;
    out.push_back(host_of(to_string(address)));
  }
  return out;
}

std::vector<std::string> reachable_at(const std::vector<listen_address>& listeners) {
  std::vector<std::string> out;
  for (auto& one : listeners) {
    if (!one.is_wildcard()) {
      out.push_back(one.text);
      continue;
    }
    for (auto& host : host_addresses()) {
      bool is_v6 = host.find(':') != host.npos;
      if (is_v6 && one.socket.ss_family == AF_INET) continue;
      out.push_back((is_v6 ? '[' + host + ']' : host) + ':' + std::to_string(one.port()));
    }
  }
  return out;
}

} // namespace troupe
