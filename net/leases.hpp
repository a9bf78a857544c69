#pragma once

#include "net/dhcp.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace troupe {

/// One row of dnsmasq's lease file.
struct lease_row {
  bool v6 = false, temporary = false; // temporary: an IA_TA instead of an IA_NA
  int64_t expiry_unix_s = 0;          // 0: never
  std::string hwaddr;                 // v6: out of the DUID, empty if it has none
  std::string address, hostname;      // hostname: empty if unknown
  std::string client_id;              // v4: "01:xx:...", v6: the client's DUID; empty if none
  uint32_t iaid = 0;                  // v6
};

struct lease_file {
  std::vector<lease_row> rows;
  std::string server_duid;
};

/// Rows that do not parse are left out: the file may be read while dnsmasq rewrites it.
lease_file parse_leases(std::string_view text);
/// The file in `dir`; none is an empty one.
outcome<lease_file> read_leases(const std::string& dir);
/// The hwaddr of a row, where the DUID has none by the name a host has; empty if nobody knows.
std::string owner_of(const lease_row& row, const std::vector<dhcp_host>& hosts);

} // namespace troupe
