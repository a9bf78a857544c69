#include "backends/storage/btrfs_subvolumes.hpp"

#include "backends/storage/tree.hpp"
#include "messages/unique_fd.hpp"

#include <btrfsutil.h>
#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <linux/btrfs_tree.h>
#include <linux/magic.h>
#include <memory>
#include <sys/stat.h>
#include <sys/statfs.h>

namespace troupe {
namespace {

using iterator_ptr = std::unique_ptr<btrfs_util_subvolume_iterator, void (*)(btrfs_util_subvolume_iterator*)>;

iterator_ptr nested(int subvolume, int flags) {
  btrfs_util_subvolume_iterator* raw = nullptr;
  if (btrfs_util_create_subvolume_iterator_fd(subvolume, 0, flags, &raw) != BTRFS_UTIL_OK) raw = nullptr;
  return {raw, btrfs_util_destroy_subvolume_iterator};
}

outcome<void> failed(btrfs_util_error code, int number, const std::string& what) {
  if (number == EEXIST) return fail(fault::already_exists, what + ": it exists");
  if (number != 0) return fail_errno(number, what);
  return fail(fault::backend_failed, what + ": " + btrfs_util_strerror(code));
}

// A snapshot holds an empty directory in the place of each nested subvolume. The paths were the guest's a moment ago.
outcome<void> snapshot_nested(int source, int target, const std::string& path) {
  unique_fd from{open_below(source, path.c_str(), O_RDONLY)};
  auto slash = path.rfind('/');
  auto name = slash == path.npos ? path : path.substr(slash + 1);
  unique_fd into{open_below(target, slash == path.npos ? "." : path.substr(0, slash).c_str(), O_RDONLY)};
  if (!from || !into) return fail_errno(errno, "Cannot open the nested subvolume " + path);
  if (unlinkat(into.get(), name.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT)
    return fail_errno(errno, "Cannot make room for the nested subvolume " + path);
  auto code = btrfs_util_create_snapshot_fd2(from.get(), into.get(), name.c_str(), 0, nullptr, nullptr);
  return code == BTRFS_UTIL_OK ? outcome<void>{} : failed(code, errno, "Cannot snapshot the nested subvolume " + path);
}

} // namespace

bool is_subvolume(int directory) noexcept {
  struct stat found;
  struct statfs fs;
  return fstat(directory, &found) == 0 && found.st_ino == BTRFS_FIRST_FREE_OBJECTID && S_ISDIR(found.st_mode) &&
         fstatfs(directory, &fs) == 0 && fs.f_type == BTRFS_SUPER_MAGIC;
}

bool is_read_only(int subvolume) noexcept {
  bool yes = false;
  return btrfs_util_get_subvolume_read_only_fd(subvolume, &yes) == BTRFS_UTIL_OK && yes;
}

bool set_read_only(int subvolume, bool wanted) noexcept {
  if (is_read_only(subvolume) == wanted) return true; // setting it commits a transaction
  return btrfs_util_set_subvolume_read_only_fd(subvolume, wanted) == BTRFS_UTIL_OK;
}

outcome<void> make_subvolume(const std::string& path) {
  errno = 0;
  auto code = btrfs_util_create_subvolume(path.c_str(), 0, nullptr, nullptr);
  return code == BTRFS_UTIL_OK ? outcome<void>{} : failed(code, errno, "Cannot make the subvolume " + path);
}

outcome<void> make_snapshot(int source, const std::string& target) {
  errno = 0;
  auto code = btrfs_util_create_snapshot_fd(source, target.c_str(), 0, nullptr, nullptr);
  if (code != BTRFS_UTIL_OK) return failed(code, errno, "Cannot make the snapshot " + target);
  if (!has_nested_subvolumes(source)) return {};
  unique_fd made{open(target.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
  auto all = nested(source, 0);
  if (!made || !all) return fail(fault::backend_failed, "Cannot list the subvolumes nested in the source of " + target);
  for (;;) {
    char* path = nullptr;
    code = btrfs_util_subvolume_iterator_next(all.get(), &path, nullptr);
    if (code == BTRFS_UTIL_ERROR_STOP_ITERATION) return {};
    if (code != BTRFS_UTIL_OK) return failed(code, 0, "Cannot list the subvolumes nested in the source of " + target);
    std::unique_ptr<char, void (*)(void*)> owned{path, std::free};
    if (auto done = snapshot_nested(source, made.get(), path); !done) return done;
  }
}

bool has_nested_subvolumes(int subvolume) noexcept {
  auto all = nested(subvolume, 0);
  return all && btrfs_util_subvolume_iterator_next(all.get(), nullptr, nullptr) == BTRFS_UTIL_OK;
}

bool delete_subvolume(int parent, const char* name, int subvolume) noexcept {
  if (btrfs_util_delete_subvolume_fd(parent, name, 0) == BTRFS_UTIL_OK) return true;
  uint64_t id = 0;
  for (auto all = nested(subvolume, BTRFS_UTIL_SUBVOLUME_ITERATOR_POST_ORDER); all;)
    if (btrfs_util_subvolume_iterator_next(all.get(), nullptr, &id) != BTRFS_UTIL_OK ||
        btrfs_util_delete_subvolume_by_id_fd(subvolume, id) != BTRFS_UTIL_OK)
      break;
  return btrfs_util_delete_subvolume_fd(parent, name, 0) == BTRFS_UTIL_OK;
}

} // namespace troupe
