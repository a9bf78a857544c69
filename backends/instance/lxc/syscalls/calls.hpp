#pragma once

#include "backends/instance/lxc/syscalls/notification.hpp"

namespace troupe::syscalls {

/// Judges one call, and does it if it is one of those that are done for instances. Everything else goes on as if nobody
/// had looked: the kernel does it with the caller's own rights.
verdict handle(const notification& call);

} // namespace troupe::syscalls
