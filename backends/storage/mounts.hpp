#pragma once

#include "messages/error.hpp"
#include "messages/unique_fd.hpp"

#include <string>
#include <string_view>

namespace troupe {

/// Whether something is mounted exactly on `path`.
bool is_mount_point(const std::string& path) noexcept;
/// Whether both paths lead to the same file or directory.
bool is_same_file(const std::string& a, const std::string& b) noexcept;
/// Makes the directory `source` appear on `target` too.
outcome<void> bind_mount(const std::string& source, const std::string& target);
/// Mounts the btrfs on a block device. `options` is a comma list as in fstab.
outcome<void> mount_btrfs(const std::string& device, const std::string& target, std::string_view options);
/// Takes the topmost mount off `path`; `in_use` while files in it are open.
outcome<void> unmount(const std::string& path);
/// The same for what lives on elsewhere: files in it may stay open.
outcome<void> detach_mount(const std::string& path);
/// Ends the file system mounted on `path`, of which this is the only mount and which nobody should use any more: waits
/// for what the kernel has not let go of yet, ten seconds at most; then `in_use`, and only the path is free.
outcome<void> end_file_system(const std::string& path);

/// A loop device that the kernel frees with its last user: hold `claim` until it is mounted.
struct loop_device {
  unique_fd claim;
  std::string path; // /dev/loopN
};

/// The loop device that shows `file` already (another mount namespace may still have it mounted), or a new one.
outcome<loop_device> attach_loop(const std::string& file);

} // namespace troupe
