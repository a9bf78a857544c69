#pragma once

#include "backends/instance/lxc/syscalls/notification.hpp"

namespace troupe::syscalls {

/// mount of a file system on a block device. Which kinds are allowed says the cookie of the container's configuration:
/// "mount=ext4,xfs", and ";shift" behind it if its ids are the instance's own.
verdict mount_disk(const notification& call);

} // namespace troupe::syscalls
