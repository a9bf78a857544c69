#pragma once

#include "messages/error.hpp"

#include <string>
#include <sys/types.h>

namespace troupe::qemu {

struct sandbox_plan {
  std::string program; // absolute; what will be executed in there
  bool kvm = false;    // whether /dev/kvm is there
  uid_t identity = 0;  // user and group: owns nothing on this host
};

/// Leaves this process nothing but the descriptors it has: in own mount, network, IPC, UTS and cgroup namespaces the
/// root is a read-only tmpfs with the program, the libraries and the firmware of the host, read-only as well, and an
/// empty /run that is its own. No capability, none to be had, no other process in sight (the caller has made the PID
/// namespace). Programs executed behind it keep this.
outcome<void> enter_sandbox(const sandbox_plan& plan);

} // namespace troupe::qemu
