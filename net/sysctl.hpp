#pragma once

#include "messages/error.hpp"

#include <optional>
#include <string>

namespace troupe {

/// The value of /proc/sys/net/PATH without its newline; nothing when it cannot be read.
std::optional<std::string> read_net_sysctl(const std::string& path);
/// Writes it only if it differs, so that a read-only /proc/sys with the right values will do.
outcome<void> set_net_sysctl(const std::string& path, const std::string& value);
/// False where the kernel has no IPv6 or it is switched off for new links.
bool has_ipv6();

} // namespace troupe
