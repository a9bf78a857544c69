#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <sys/socket.h>

namespace troupe {

/// An IP address with a prefix length; the host bits are kept ("10.1.2.1/24" is the host and its subnet).
/// IPv4 uses the first four bytes.
struct cidr {
  int family = AF_UNSPEC;
  unsigned prefix = 0;
  std::array<uint8_t, 16> bytes{};

  unsigned width() const noexcept { return family == AF_INET ? 32 : 128; }
  bool operator==(const cidr&) const = default;
};

/// A bare address; its prefix is the whole width. AF_UNSPEC takes both families.
std::optional<cidr> parse_ip(std::string_view text, int family = AF_UNSPEC);
/// "address/prefix"; the prefix is required.
std::optional<cidr> parse_cidr(std::string_view text, int family = AF_UNSPEC);

std::string ip_text(const cidr& value);
std::string cidr_text(const cidr& value);

cidr network_of(const cidr& value);
/// The address `offset` places after the start of the subnet, or, when negative, before its end (-1: the last one).
cidr nth_address(const cidr& subnet, int offset);
bool overlap(const cidr& a, const cidr& b);
bool contains(const cidr& subnet, const cidr& part);

} // namespace troupe
