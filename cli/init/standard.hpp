#pragma once

#include "messages/error.hpp"

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace troupe {

class server;

/// What `troupe init` needs to know of the host and of the server before it proposes anything.
struct surroundings {
  std::string pool;             // the present pool to use; empty: none yet
  std::string bridge;           // the present managed bridge; empty: none yet
  std::string free_bridge_name; // "troupebr0", or the next that no interface has
  bool btrfs = false;           // the server can make btrfs pools
  bool profile_has_root = false, profile_has_nic = false;
};

outcome<surroundings> look_around(const server& daemon);

struct pool_wish {
  std::string name = "default";
  std::string driver; // "btrfs" or "dir"
  std::string source; // a path or block device; empty: a loop file or folder of the server's own
  std::string size;   // of the loop file, e.g. "10GiB"; empty: the server's choice
};

struct bridge_wish {
  std::string name;
  std::string ipv4 = "auto", ipv6 = "auto"; // "auto", "none" or a CIDR address
  bool ipv4_nat = true, ipv6_nat = true;
};

nlohmann::json pool_entry(const pool_wish& wish);
nlohmann::json network_entry(const bridge_wish& wish);

/// The default profile with what it lacks of a root disk on `pool` and a card on `bridge` (each may be empty: none).
nlohmann::json profile_entry(const surroundings& found, const std::string& pool, const std::string& bridge);

} // namespace troupe
