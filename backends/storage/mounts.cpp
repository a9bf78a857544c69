#include "backends/storage/mounts.hpp"

#include "backends/storage/pool_layout.hpp"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <iterator>
#include <linux/loop.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

namespace troupe {
namespace {

struct mount_flag {
  std::string_view option;
  unsigned long flag;
};

constexpr mount_flag mount_flags[] = {
    {"noatime", MS_NOATIME},
    {"nodiratime", MS_NODIRATIME},
    {"relatime", MS_RELATIME},
    {"strictatime", MS_STRICTATIME},
    {"lazytime", MS_LAZYTIME},
    {"nodev", MS_NODEV},
    {"nosuid", MS_NOSUID},
    {"noexec", MS_NOEXEC},
    {"sync", MS_SYNCHRONOUS},
    {"dirsync", MS_DIRSYNC},
    {"rw", 0},
    {"defaults", 0},
};

// The kernel's own 32-bit form of a device number, which loop devices report.
uint64_t kernel_number(dev_t device) {
  uint64_t number = minor(device);
  return (number & 0xff) | (static_cast<uint64_t>(major(device)) << 8) | ((number & ~0xffull) << 12);
}

loop_device find_loop(const struct stat& backing) {
  for (auto& name : read_names("/sys/block").value_or(std::vector<std::string>{})) {
    struct stat found;
    if (!name.starts_with("loop") || stat(("/sys/block/" + name + "/loop").c_str(), &found) != 0) continue;
    unique_fd fd{open(("/dev/" + name).c_str(), O_RDWR | O_CLOEXEC)};
    loop_info64 info{};
    if (fd && ioctl(fd.get(), LOOP_GET_STATUS64, &info) == 0 && info.lo_inode == backing.st_ino &&
        info.lo_device == kernel_number(backing.st_dev))
      return {std::move(fd), "/dev/" + name};
  }
  return {};
}

} // namespace

bool is_mount_point(const std::string& path) noexcept {
  struct statx facts;
  return statx(AT_FDCWD, path.c_str(), AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_TYPE, &facts) == 0 &&
         (facts.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
}

bool is_same_file(const std::string& a, const std::string& b) noexcept {
  struct stat first, second;
  return stat(a.c_str(), &first) == 0 && stat(b.c_str(), &second) == 0 && first.st_dev == second.st_dev &&
         first.st_ino == second.st_ino;
}

outcome<void> bind_mount(const std::string& source, const std::string& target) {
  if (mount(source.c_str(), target.c_str(), nullptr, MS_BIND, nullptr) == 0) return {};
  return fail_errno(errno, "Cannot mount " + source + " on " + target);
}

outcome<void> mount_btrfs(const std::string& device, const std::string& target, std::string_view options) {
  unsigned long flags = 0;
  std::string data;
  while (!options.empty()) {
    auto end = std::min(options.find(','), options.size());
    auto word = options.substr(0, end);
    auto row = std::find_if(std::begin(mount_flags), std::end(mount_flags),
                            [word](const mount_flag& f) { return f.option == word; });
    if (row != std::end(mount_flags))
      flags |= row->flag;
    else
      data.append(data.empty() ? "" : ",").append(word);
    options.remove_prefix(std::min(end + 1, options.size()));
  }
  if (mount(device.c_str(), target.c_str(), "btrfs", flags, data.c_str()) == 0) return {};
  return fail_errno(errno, "Cannot mount the btrfs on " + device + " with the options \"" + data + '"');
}

outcome<void> unmount(const std::string& path) {
  if (umount2(path.c_str(), UMOUNT_NOFOLLOW) == 0) return {};
  if (errno == EBUSY) return fail(fault::in_use, "Cannot unmount " + path + ", it is in use");
  return fail_errno(errno, "Cannot unmount " + path);
}

outcome<void> detach_mount(const std::string& path) {
  if (umount2(path.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) == 0) return {};
  return fail_errno(errno, "Cannot unmount " + path);
}

outcome<void> end_file_system(const std::string& path) {
  if (auto down = unmount(path); down || down.error().code != fault::in_use) return down;
  // A process that forked a moment ago holds our open files until its exec, and the kernel drops the files of ended
  // processes late. A watch holds nothing, and tells of the file system's end.
  constexpr int patience_ms = 10'000;
  unique_fd watch{inotify_init1(IN_CLOEXEC)};
  if (!watch || inotify_add_watch(watch.get(), path.c_str(), IN_DELETE_SELF | IN_ONLYDIR) < 0)
    return fail_errno(errno, "Cannot watch " + path);
  if (auto gone = detach_mount(path); !gone) return gone;
  pollfd end{watch.get(), POLLIN, 0};
  if (poll(&end, 1, patience_ms) == 1) return {};
  return fail(fault::in_use, "The file system of " + path + " is still in use");
}

outcome<loop_device> attach_loop(const std::string& file) {
  unique_fd backing{open(file.c_str(), O_RDWR | O_NOFOLLOW | O_CLOEXEC)};
  struct stat facts;
  if (!backing || fstat(backing.get(), &facts) != 0) return fail_errno(errno, "Cannot open the loop file " + file);
  if (auto found = find_loop(facts); found.claim) return found;
  unique_fd control{open("/dev/loop-control", O_RDWR | O_CLOEXEC)};
  if (!control) return fail_errno(errno, "Cannot open /dev/loop-control");
  constexpr int attempts_max = 64; // others may take the free one first
  for (int attempt = 0; attempt < attempts_max; ++attempt) {
    int number = ioctl(control.get(), LOOP_CTL_GET_FREE);
    if (number < 0) return fail_errno(errno, "Cannot get a free loop device");
    auto path = "/dev/loop" + std::to_string(number);
    unique_fd fd{open(path.c_str(), O_RDWR | O_CLOEXEC)};
    if (!fd) return fail_errno(errno, "Cannot open " + path);
    loop_config config{};
    config.fd = static_cast<uint32_t>(backing.get());
    config.info.lo_flags = LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO;
    file.copy(reinterpret_cast<char*>(config.info.lo_file_name), LO_NAME_SIZE - 1);
    if (ioctl(fd.get(), LOOP_CONFIGURE, &config) == 0) return loop_device{std::move(fd), path};
    if (errno != EBUSY) return fail_errno(errno, ("Cannot attach " + file).append(" to ").append(path));
  }
  return fail(fault::busy, "Cannot get a free loop device for " + file);
}

} // namespace troupe
