#pragma once

#include "backends/instance/instance_driver.hpp"

#include <memory>
#include <string>

namespace troupe {

/// Where the driver works. One per daemon; two daemons must differ in all but the program.
struct lxc_place {
  std::string program; // absolute path of bin/troupe-lxc
  /// liblxc's name space and the driver's own files; made when missing. The root of an unprivileged container must be
  /// able to walk to it: every directory above needs the x bit for others, so it cannot be inside a directory of mode
  /// 0700.
  std::string lxcpath;
  std::string cgroup_prefix; // one path component, e.g. "troupe-ab12cd34"
};

/// Containers by liblxc, through the helper program. The helper starts with the first call that needs it. `start`,
/// `exec` and the file calls make the helper fork; `kill`, `request_stop`, `measure` and freezing on a host with cgroup
/// v2 go to the kernel directly.
std::unique_ptr<instance_driver> make_lxc_driver(lxc_place place);

} // namespace troupe
