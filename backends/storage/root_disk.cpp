#include "backends/storage/root_disk.hpp"

#include <cerrno>
#include <fcntl.h>
#include <limits>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace troupe {
namespace {

constexpr uint64_t sector = 512;

outcome<unique_fd> open_disk(const std::string& volume, int flags) {
  auto path = volume + '/' + root_disk_name;
  unique_fd disk{open(path.c_str(), flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)};
  if (!disk) return fail_errno(errno, "Cannot open the disk " + path);
  return disk;
}

outcome<uint64_t> size_of(const unique_fd& disk, const std::string& volume) {
  struct stat facts;
  if (fstat(disk.get(), &facts) != 0) return fail_errno(errno, "Cannot measure the disk of " + volume);
  if (!S_ISREG(facts.st_mode)) return fail(fault::corrupt, "The disk of " + volume + " is no regular file");
  return static_cast<uint64_t>(facts.st_size);
}

} // namespace

void turn_off_cow(int file) noexcept {
  int flags = 0;
  if (ioctl(file, FS_IOC_GETFLAGS, &flags) != 0 || (flags & FS_NOCOW_FL) != 0) return;
  flags |= FS_NOCOW_FL;
  (void)ioctl(file, FS_IOC_SETFLAGS, &flags);
}

bool is_cow_off(int file) noexcept {
  int flags = 0;
  return ioctl(file, FS_IOC_GETFLAGS, &flags) == 0 && (flags & FS_NOCOW_FL) != 0;
}

outcome<unique_fd> make_root_disk(int directory) {
  unique_fd disk{openat(directory, root_disk_name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600)};
  if (!disk || fchmod(disk.get(), 0600) != 0) return fail_errno(errno, "Cannot make the disk of the volume");
  turn_off_cow(disk.get());
  return disk;
}

bool has_root_disk(const std::string& volume) noexcept {
  struct stat facts;
  return lstat((volume + '/' + root_disk_name).c_str(), &facts) == 0 && S_ISREG(facts.st_mode);
}

bool is_machine_volume(std::string_view volume) noexcept {
  return volume.substr(0, volume.rfind('/')).ends_with("/virtual-machines");
}

outcome<uint64_t> root_disk_size(const std::string& volume) {
  auto disk = open_disk(volume, O_RDONLY);
  return disk ? size_of(*disk, volume) : tl::unexpected{disk.error()};
}

outcome<void> grow_root_disk(const std::string& volume, uint64_t bytes) {
  if (bytes == 0) return {};
  if (bytes > static_cast<uint64_t>(std::numeric_limits<off_t>::max()) - sector)
    return fail(fault::invalid, "A disk cannot have " + std::to_string(bytes) + " bytes");
  bytes = (bytes + sector - 1) / sector * sector;
  auto disk = open_disk(volume, O_RDWR);
  if (!disk) return tl::unexpected{disk.error()};
  auto now = size_of(*disk, volume);
  if (!now) return tl::unexpected{now.error()};
  if (*now == bytes) return {};
  if (*now > bytes)
    return fail(fault::invalid, "The disk of a virtual machine cannot shrink: it has " + std::to_string(*now) +
                                    " bytes, and " + std::to_string(bytes) + " are wanted");
  if (ftruncate(disk->get(), static_cast<off_t>(bytes)) != 0)
    return errno == EFBIG
               ? fail(fault::invalid, "The file system cannot hold a disk of " + std::to_string(bytes) + " bytes")
               : fail_errno(errno, "Cannot grow the disk of " + volume);
  return {};
}

} // namespace troupe
