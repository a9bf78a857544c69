#pragma once

#include <string>

namespace troupe::lxc {

/// The payload's cgroup below the base of every hierarchy, and where its monitor is.
inline std::string payload_cgroup(const std::string& prefix, const std::string& key) {
  return prefix + "/payload." + key;
}
inline std::string monitor_cgroup(const std::string& prefix, const std::string& key) {
  return prefix + "/monitor." + key;
}

} // namespace troupe::lxc
