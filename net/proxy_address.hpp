#pragma once

#include "messages/error.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace troupe {

/// One side of a proxy device: "tcp:127.0.0.1:80", "udp:[::1]:53,60-62", "unix:/run/x.sock", "unix:@abstract".
struct proxy_address {
  enum class kind : uint8_t { tcp, udp, unix_path, unix_abstract };
  kind what = kind::tcp;
  std::string host;            // an IP address; of a unix socket its path, or its name without the '@'
  std::vector<uint16_t> ports; // none of a unix socket
  bool operator==(const proxy_address&) const = default;
  bool is_unix() const noexcept { return what == kind::unix_path || what == kind::unix_abstract; }
};
/// At most 1,024 ports. Control characters, relative paths and host names are `invalid`.
outcome<proxy_address> parse_endpoint(std::string_view text);

} // namespace troupe
