#pragma once

#include "backends/instance/instance_driver.hpp"

#include <memory>
#include <string>

namespace troupe {

struct qemu_place {
  std::string helper;    // path of troupe-qemu, which confines and starts QEMU
  std::string directory; // 0700; what belongs to machines while they run (sockets, config drives)
  std::string cgroup;    // "troupe-ID": each machine's own control group lies below that one
  std::string agent;     // path of the static guest agent, which config drives carry
};

/// Runs virtual machines by QEMU. The leader and the monitor of a machine are both its QEMU process, which outlives the
/// daemon and is found again by its QMP socket. The volume of a machine (`boot_plan::root.path`) holds `root.img`, its
/// raw root disk, and `nvram`, the variables of its firmware.
std::unique_ptr<instance_driver> make_qemu_driver(qemu_place place);

} // namespace troupe
