#include "backends/storage/btrfs_format.hpp"

#include "backends/storage/run_program.hpp"
#include "messages/unique_fd.hpp"

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <fcntl.h>
#include <linux/btrfs.h>
#include <linux/magic.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>

namespace troupe {
namespace {

// On-disk format: superblocks at fixed places; in each the file system's UUID and, written last by mkfs, the magic.
constexpr off_t superblocks[] = {64 << 10, 64 << 20, off_t{256} << 30};
constexpr off_t uuid_at = 32, magic_at = 64;
constexpr char magic[] = {'_', 'B', 'H', 'R', 'f', 'S', '_', 'M'};

std::string as_text(const unsigned char* uuid) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string out;
  for (int i = 0; i < 16; ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) out += '-';
    out += digits[uuid[i] >> 4];
    out += digits[uuid[i] & 15];
  }
  return out;
}

bool is_magic(int fd, off_t superblock) {
  char found[sizeof magic];
  return pread(fd, found, sizeof found, superblock + magic_at) == ssize_t{sizeof found} &&
         std::memcmp(found, magic, sizeof magic) == 0;
}

// A daemon that was killed may have left a mkfs running: it holds this lock to its end.
outcome<unique_fd> lock_device(const std::string& device) {
  unique_fd fd{open(device.c_str(), O_RDWR | O_CLOEXEC)};
  if (!fd) return fail_errno(errno, "Cannot open " + device);
  while (flock(fd.get(), LOCK_EX) != 0)
    if (errno != EINTR) return fail_errno(errno, "Cannot lock " + device);
  return fd;
}

} // namespace

std::string btrfs_uuid_on(const std::string& device) {
  unique_fd fd{open(device.c_str(), O_RDONLY | O_CLOEXEC)};
  unsigned char uuid[16];
  if (!fd || !is_magic(fd.get(), superblocks[0])) return {};
  if (pread(fd.get(), uuid, sizeof uuid, superblocks[0] + uuid_at) != ssize_t{sizeof uuid}) return {};
  return as_text(uuid);
}

std::string btrfs_uuid_at(const std::string& path) {
  unique_fd fd{open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  struct statfs facts;
  btrfs_ioctl_fs_info_args info{};
  if (!fd || fstatfs(fd.get(), &facts) != 0 || facts.f_type != BTRFS_SUPER_MAGIC) return {};
  return ioctl(fd.get(), BTRFS_IOC_FS_INFO, &info) == 0 ? as_text(info.fsid) : "";
}

outcome<void> make_btrfs(const std::string& device, const std::string& uuid, const std::string& label, bool overwrite) {
  auto claim = lock_device(device);
  if (!claim) return tl::unexpected{claim.error()};
  auto found = btrfs_uuid_on(device);
  if (found == uuid) return {};
  if (!found.empty()) return fail(fault::in_use, "There is a file system of somebody else on " + device);
  std::vector<std::string> arguments{"mkfs.btrfs", "-q", "-U", uuid, "-L", label};
  if (overwrite) arguments.emplace_back("-f");
  arguments.emplace_back("--");
  arguments.push_back(device);
  auto ran = run_program(std::move(arguments), claim->get());
  return ran ? outcome<void>{} : tl::unexpected{ran.error()};
}

outcome<void> unmake_btrfs(const std::string& device, const std::string& uuid) {
  auto claim = lock_device(device);
  if (!claim) return tl::unexpected{claim.error()};
  if (btrfs_uuid_on(device) != uuid) return {};
  constexpr char nothing[sizeof magic] = {};
  // The first one last: after a crash in between the file system is still known as ours.
  for (auto at = std::rbegin(superblocks); at != std::rend(superblocks); ++at)
    if (is_magic(claim->get(), *at) &&
        pwrite(claim->get(), nothing, sizeof nothing, *at + magic_at) != ssize_t{sizeof nothing})
      return fail_errno(errno, "Cannot wipe " + device);
  return fsync(claim->get()) == 0 ? outcome<void>{} : fail_errno(errno, "Cannot wipe " + device);
}

std::string btrfs_version() {
  if (unique_fd known{fsopen("btrfs", FSOPEN_CLOEXEC)}; !known) return {};
  auto answer = run_program({"mkfs.btrfs", "--version"}); // "mkfs.btrfs, part of btrfs-progs v6.2"
  if (!answer) return {};
  auto at = answer->rfind(" v");
  auto version = at == std::string::npos ? *answer : answer->substr(at + 2);
  return version.substr(0, version.find_first_of(" \n"));
}

} // namespace troupe
