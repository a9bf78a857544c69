#include "backends/storage/btrfs_quota.hpp"

#include <btrfsutil.h>
#include <cerrno>
#include <cstring>
#include <linux/btrfs.h>
#include <linux/btrfs_tree.h>
#include <sys/ioctl.h>

namespace troupe {
namespace {

constexpr uint64_t no_limit = ~uint64_t{0}; // the kernel's word for "take the limit away"

bool id_of(int subvolume, uint64_t& id) { return btrfs_util_subvolume_id_fd(subvolume, &id) == BTRFS_UTIL_OK; }

int set_limit(int subvolume, uint64_t id, uint64_t bytes) {
  btrfs_ioctl_qgroup_limit_args wanted{};
  wanted.qgroupid = id;
  wanted.lim.flags = BTRFS_QGROUP_LIMIT_MAX_RFER;
  wanted.lim.max_rfer = bytes == 0 ? no_limit : bytes;
  return ioctl(subvolume, BTRFS_IOC_QGROUP_LIMIT, &wanted) == 0 ? 0 : errno;
}

bool are_off(int error) { return error == ENOTCONN || error == EINVAL; }

int turn_on(int subvolume) {
  btrfs_ioctl_quota_ctl_args control{};
  control.cmd = BTRFS_QUOTA_CTL_ENABLE;
  return ioctl(subvolume, BTRFS_IOC_QUOTA_CTL, &control) == 0 ? 0 : errno;
}

} // namespace

outcome<void> limit_subvolume(int subvolume, uint64_t bytes) {
  uint64_t id = 0;
  if (!id_of(subvolume, id)) return fail_errno(errno, "Cannot tell which subvolume is to be limited");
  int error = set_limit(subvolume, id, bytes);
  if (are_off(error) && bytes == 0) return {};
  if (are_off(error)) {
    if (error = turn_on(subvolume); error == 0) error = set_limit(subvolume, id, bytes);
  }
  return error == 0 ? outcome<void>{} : fail_errno(error, "Cannot limit the size of the volume");
}

std::optional<uint64_t> subvolume_usage(int subvolume) noexcept {
  uint64_t id = 0;
  if (!id_of(subvolume, id)) return std::nullopt;
  btrfs_ioctl_search_args search{};
  auto& key = search.key;
  key.tree_id = BTRFS_QUOTA_TREE_OBJECTID;
  key.min_type = key.max_type = BTRFS_QGROUP_INFO_KEY;
  key.min_offset = key.max_offset = id;
  key.max_transid = ~uint64_t{0};
  key.nr_items = 1;
  if (ioctl(subvolume, BTRFS_IOC_TREE_SEARCH, &search) != 0 || key.nr_items != 1) return std::nullopt;
  btrfs_qgroup_info_item found;
  std::memcpy(&found, search.buf + sizeof(btrfs_ioctl_search_header), sizeof found);
  return le64toh(found.rfer);
}

} // namespace troupe
