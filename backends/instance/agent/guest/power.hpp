#pragma once

#include "backends/instance/agent/guest/child.hpp"
#include "messages/error.hpp"

namespace troupe::guest {

/// Asks the guest's init to go down, or to begin again. When its program for that fails or there is none, the kernel
/// does it at once, after the disks have what is in memory.
kj::Promise<outcome<void>> go_down(kj::UnixEventPort& port, bool reboot);

} // namespace troupe::guest
