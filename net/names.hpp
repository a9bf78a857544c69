#pragma once

#include <string>
#include <string_view>

namespace troupe {

/// A name the kernel, dnsmasq and nftables all take for a link: 2 to 15 of [A-Za-z0-9_.-], not starting with '-' or
/// '.'.
bool is_interface_name(std::string_view name);
/// "00:16:3e:aa:bb:cc": six octets of a unicast address.
bool is_hwaddr(std::string_view text);
/// One DNS label: letters, digits, inner hyphens, at most 63 bytes.
bool is_host_label(std::string_view text);
/// Labels joined by dots, at most 253 bytes.
bool is_domain(std::string_view text);

std::string lower(std::string_view text);

} // namespace troupe
