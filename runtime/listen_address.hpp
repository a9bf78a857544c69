#pragma once

#include "messages/error.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <vector>

namespace troupe {

constexpr uint16_t default_https_port = 8443;
constexpr uint16_t default_bus_port = 8447;
constexpr uint16_t default_metrics_port = 9100;

/// Where to listen: a numeric IP address and a port.
struct listen_address {
  sockaddr_storage socket{};
  std::string text; // "10.0.0.1:8443", "[::]:8443"

  bool is_wildcard() const; // every address of the host
  uint16_t port() const;
};

/// "IP", "IP:PORT", "[IPV6]:PORT", ":PORT" (all addresses), several with commas between them. fault::invalid: a name
/// would have to be looked up, which may change under us.
outcome<std::vector<listen_address>> parse_listen_addresses(std::string_view list, uint16_t default_port);

/// "10.0.0.1:52170", "[::1]:52170". IPv4 in IPv6 is written as IPv4.
std::string to_string(const sockaddr_storage& address);
/// An address without its port and brackets.
std::string host_of(std::string_view address);
/// A numeric IP address.
bool is_ip(std::string_view text);

/// What others reach the host at: its addresses that are neither loopback nor link-local. Reads the kernel's list.
std::vector<std::string> host_addresses();
/// Where clients can reach these listeners: wildcards become the host's addresses.
std::vector<std::string> reachable_at(const std::vector<listen_address>& listeners);

} // namespace troupe
