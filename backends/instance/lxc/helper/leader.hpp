#pragma once

#include "messages/error.hpp"
#include "messages/unique_fd.hpp"

#include <cstdint>
#include <sys/types.h>

namespace troupe::lxc {

/// The pidfd of an instance's init. A wrong pid would mean changing the host, so it must be the first process of a pid
/// namespace, with the user namespace that the instance has (`count` 0: privileged).
outcome<unique_fd> open_leader(pid_t leader, uint32_t host_id, uint32_t count);

} // namespace troupe::lxc
