#include "backends/storage/btrfs_subvolumes.hpp"
#include "backends/storage/pool_config.hpp"
#include "backends/storage/tree.hpp"
#include "messages/unique_fd.hpp"

#include <cerrno>
#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <memory>
#include <stdio.h>
#include <string_view>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <vector>

namespace troupe {
namespace {

constexpr size_t levels_max = 64; // deeper directories are moved up to the top, so that one walk suffices for any depth

struct level {
  std::unique_ptr<DIR, int (*)(DIR*)> stream;
  std::string name;
  size_t base;         // the nearest level above that is the root of a subvolume: renames cannot leave that
  uint64_t removed_at; // what had been removed when this level was last begun
};

void clear_flags(int parent, const char* name) {
  struct stat found;
  if (fstatat(parent, name, &found, AT_SYMLINK_NOFOLLOW) != 0) return;
  if (!S_ISREG(found.st_mode) && !S_ISDIR(found.st_mode)) return; // opening anything else may do something
  unique_fd fd{openat(parent, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)};
  unsigned flags = 0;
  if (fd && ioctl(fd.get(), FS_IOC_GETFLAGS, &flags) == 0 && (flags & (FS_IMMUTABLE_FL | FS_APPEND_FL)) != 0) {
    flags &= ~static_cast<unsigned>(FS_IMMUTABLE_FL | FS_APPEND_FL);
    ioctl(fd.get(), FS_IOC_SETFLAGS, &flags);
  }
}

int unlink_stubborn(int parent, const char* name, int flags) {
  if (unlinkat(parent, name, flags) == 0 || errno == ENOENT) return 0;
  if (errno != EPERM) return errno;
  clear_flags(parent, ".");
  clear_flags(parent, name);
  return unlinkat(parent, name, flags) == 0 || errno == ENOENT ? 0 : errno;
}

class tree_remover {
public:
  explicit tree_remover(int outside) : outside_{outside} {}

  outcome<void> run(const std::string& name) {
    if (int error = enter(name.c_str()); error != 0) return stuck(error, name);
    while (!levels_.empty()) {
      errno = 0;
      auto* entry = readdir(levels_.back().stream.get());
      int error = entry ? remove_entry(*entry) : errno != 0 ? errno : leave();
      if (error != 0) return stuck(error, entry ? entry->d_name : name);
    }
    return {};
  }

private:
  static outcome<void> stuck(int error, const std::string& name) {
    if (error == EXDEV) return fail(fault::in_use, "Cannot remove " + name + ", something is mounted on it");
    return fail_errno(error, "Cannot remove " + name);
  }

  int parent_of(size_t index) const { return index == 0 ? outside_ : dirfd(levels_[index - 1].stream.get()); }

  int remove_entry(const dirent& entry) {
    std::string_view name{entry.d_name};
    if (name == "." || name == "..") return 0;
    int here = dirfd(levels_.back().stream.get());
    if (entry.d_type != DT_DIR) {
      int error = unlink_stubborn(here, entry.d_name, 0);
      if (error != EISDIR) return error == 0 ? (++removed_, 0) : error;
    }
    return levels_.size() < levels_max ? enter(entry.d_name) : hoist(here, entry.d_name);
  }

  int enter(const char* name) {
    int parent = parent_of(levels_.size());
    unique_fd fd{open_below(parent, name, O_RDONLY)};
    if (!fd) return errno == ENOENT ? 0 : errno == ENOTDIR || errno == ELOOP ? unlink_stubborn(parent, name, 0) : errno;
    bool subvolume = is_subvolume(fd.get());
    if (subvolume && delete_subvolume(parent, name, fd.get())) return ++removed_, 0;
    if (subvolume) set_read_only(fd.get(), false); // or nothing in it can be removed one by one
    size_t base = levels_.empty() || subvolume ? levels_.size() : levels_.back().base;
    DIR* stream = fdopendir(fd.get());
    if (!stream) return errno;
    fd.release();
    levels_.push_back({{stream, closedir}, name, base, removed_});
    return 0;
  }

  // The top first; a plain directory of a nested subvolume can only go to the root of that.
  int hoist(int here, const char* name) {
    auto unique = random_uuid();
    int error = 0;
    for (size_t to : {size_t{0}, size_t{0}, levels_.back().base}) {
      if (renameat(here, name, dirfd(levels_[to].stream.get()), unique.c_str()) == 0) return ++removed_, 0;
      error = errno;
      if (error == ENOENT) return 0;
      if (error == EPERM) clear_flags(here, name), clear_flags(here, ".");
    }
    return error;
  }

  int leave() {
    auto& done = levels_.back();
    int error = unlink_stubborn(parent_of(levels_.size() - 1), done.name.c_str(), AT_REMOVEDIR);
    if (error == ENOTEMPTY && done.removed_at != removed_) { // hoisted ones, or the directory changed under the reader
      done.removed_at = removed_;
      rewinddir(done.stream.get());
      return 0;
    }
    if (error != 0) return error;
    ++removed_;
    levels_.pop_back();
    return 0;
  }

  int outside_;
  std::vector<level> levels_;
  uint64_t removed_ = 0;
};

} // namespace

int open_below(int parent, const char* name, int flags) {
  open_how how{};
  how.flags = static_cast<uint64_t>(flags | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV;
  return static_cast<int>(syscall(SYS_openat2, parent, name, &how, sizeof how));
}

outcome<void> remove_tree(int parent, const std::string& name) {
  int error = unlink_stubborn(parent, name.c_str(), 0);
  if (error == 0) return {};
  if (error != EISDIR && error != EPERM) return fail_errno(error, "Cannot remove " + name);
  return tree_remover{parent}.run(name);
}

} // namespace troupe
