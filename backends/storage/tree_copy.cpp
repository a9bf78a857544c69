#include "backends/storage/root_disk.hpp"
#include "backends/storage/tree.hpp"
#include "messages/unique_fd.hpp"

#include <cerrno>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <map>
#include <memory>
#include <stdio.h>
#include <string_view>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <vector>

namespace troupe {
namespace {

constexpr unsigned depth_max = 256;

tl::unexpected<error> stuck(const char* name, int number = errno) {
  return fail_errno(number, std::string{"Cannot copy "} + name);
}

int copy_by_hand(int in, int out, off_t at, off_t end) {
  std::vector<char> buffer(256 << 10);
  while (at < end) {
    auto want = std::min<off_t>(end - at, static_cast<off_t>(buffer.size()));
    auto got = pread(in, buffer.data(), static_cast<size_t>(want), at);
    if (got <= 0) return got == 0 ? 0 : errno;
    for (ssize_t done = 0; done < got;) {
      auto put = pwrite(out, buffer.data() + done, static_cast<size_t>(got - done), at + done);
      if (put < 0) return errno;
      done += put;
    }
    at += got;
  }
  return 0;
}

int copy_range(int in, int out, off_t at, off_t end) {
  while (at < end) {
    off_t from = at, to = at;
    auto done = copy_file_range(in, &from, out, &to, static_cast<size_t>(end - at), 0);
    if (done == 0) return 0; // the file became shorter meanwhile
    if (done < 0 && (errno == EXDEV || errno == EINVAL || errno == EOPNOTSUPP || errno == ENOSYS))
      return copy_by_hand(in, out, at, end);
    if (done < 0) return errno;
    at += done;
  }
  return 0;
}

int copy_data(int in, int out, off_t size) {
  if (ioctl(out, FICLONE, in) == 0) return 0;
  if (ftruncate(out, size) != 0) return errno;
  for (off_t at = 0; at < size;) {
    off_t data = lseek(in, at, SEEK_DATA);
    if (data < 0 && errno == ENXIO) return 0;
    if (data < 0) data = at; // holes cannot be asked for here
    off_t hole = lseek(in, data, SEEK_HOLE);
    if (hole <= data) hole = size;
    if (int error = copy_range(in, out, data, hole); error != 0) return error;
    at = hole;
  }
  return 0;
}

// Labels of a security module are the host's to give.
bool is_kept(std::string_view attribute) {
  return !attribute.starts_with("security.") || attribute == "security.capability";
}

outcome<void> copy_attributes(const std::string& from, const std::string& to, const char* name) {
  auto length = llistxattr(from.c_str(), nullptr, 0);
  if (length < 0) return errno == ENOTSUP ? outcome<void>{} : stuck(name);
  std::string names(static_cast<size_t>(length), 0), value;
  length = llistxattr(from.c_str(), names.data(), names.size());
  if (length < 0) return stuck(name);
  for (const char* at = names.data(); at < names.data() + length; at += std::strlen(at) + 1) {
    if (!is_kept(at)) continue;
    value.resize(XATTR_SIZE_MAX);
    auto size = lgetxattr(from.c_str(), at, value.data(), value.size());
    if (size < 0 && errno == ENODATA) continue;
    if (size < 0 || lsetxattr(to.c_str(), at, value.data(), static_cast<size_t>(size), 0) != 0) return stuck(name);
  }
  return {};
}

std::pair<std::string, std::string> split(const std::string& path) {
  auto slash = path.rfind('/');
  return slash == path.npos ? std::pair{std::string{"."}, path}
                            : std::pair{path.substr(0, slash + 1), path.substr(slash + 1)};
}

class tree_copier {
public:
  outcome<void> run(const std::string& source, const std::string& target) {
    auto from = split(source), to = split(target);
    unique_fd from_parent{open(from.first.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    unique_fd to_parent{open(to.first.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    struct stat facts;
    if (!from_parent || !to_parent || fstatat(from_parent.get(), from.second.c_str(), &facts, AT_SYMLINK_NOFOLLOW) != 0)
      return stuck(source.c_str());
    root_ = to_parent.get();
    return directory({from_parent.get(), from.second.c_str(), root_, to.second.c_str(), to.second, 0}, facts);
  }

private:
  struct node {
    int source;
    const char* source_name;
    int target;
    const char* target_name;
    std::string path; // of the target, from the root: for hard links
    unsigned depth;
  };

  outcome<void> copy(const node& n) {
    struct stat facts;
    if (fstatat(n.source, n.source_name, &facts, AT_SYMLINK_NOFOLLOW) != 0)
      return errno == ENOENT ? outcome<void>{} : stuck(n.source_name); // a running guest removed it
    if (S_ISDIR(facts.st_mode)) return directory(n, facts);
    if (facts.st_nlink > 1) {
      auto [at, fresh] = links_.try_emplace({facts.st_dev, facts.st_ino}, n.path);
      if (!fresh) {
        if (linkat(root_, at->second.c_str(), n.target, n.target_name, 0) != 0) return stuck(n.source_name);
        return {};
      }
    }
    if (S_ISREG(facts.st_mode)) return file(n);
    if (S_ISLNK(facts.st_mode)) return link(n, facts);
    return special(n, facts);
  }

  outcome<void> directory(const node& n, const struct stat& facts) {
    if (n.depth >= depth_max)
      return fail(fault::too_large, std::string{"Cannot copy "} + n.source_name + ": the tree is too deep");
    unique_fd from{open_below(n.source, n.source_name, O_RDONLY)};
    if (!from && errno == EXDEV && n.depth > 0) return {}; // mounted on it: not of this volume
    if (!from) return stuck(n.source_name);
    bool is_top = n.depth == 0; // may have been made for us
    if (mkdirat(n.target, n.target_name, 0700) != 0 && !(is_top && errno == EEXIST)) return stuck(n.source_name);
    unique_fd to{open_below(n.target, n.target_name, O_RDONLY)};
    if (!to) return stuck(n.source_name);
    int here = from.get();
    std::unique_ptr<DIR, int (*)(DIR*)> stream{fdopendir(from.get()), closedir};
    if (!stream) return stuck(n.source_name);
    from.release();
    for (errno = 0; auto* entry = readdir(stream.get()); errno = 0) {
      std::string_view name{entry->d_name};
      if (name == "." || name == "..") continue;
      auto done = copy({here, entry->d_name, to.get(), entry->d_name, n.path + '/' + entry->d_name, n.depth + 1});
      if (!done) return done;
    }
    if (errno != 0) return stuck(n.source_name);
    return attributes(n, facts);
  }

  outcome<void> file(const node& n) {
    unique_fd from{openat(n.source, n.source_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOATIME | O_CLOEXEC)};
    if (!from) return errno == ENOENT ? outcome<void>{} : stuck(n.source_name);
    struct stat facts;
    if (fstat(from.get(), &facts) != 0) return stuck(n.source_name);
    if (!S_ISREG(facts.st_mode)) return {}; // swapped under us by a running guest
    unique_fd to{openat(n.target, n.target_name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600)};
    if (!to) return stuck(n.source_name);
    // Before the first byte. Extents are shared between files that are alike in this only.
    bool is_disk = n.depth == 1 && std::string_view{n.source_name} == root_disk_name;
    if (is_disk || is_cow_off(from.get())) turn_off_cow(to.get());
    if (int error = copy_data(from.get(), to.get(), facts.st_size); error != 0) return stuck(n.source_name, error);
    return attributes(n, facts);
  }

  outcome<void> link(const node& n, const struct stat& facts) {
    char text[4096];
    auto size = readlinkat(n.source, n.source_name, text, sizeof text - 1);
    if (size < 0) return stuck(n.source_name);
    text[size] = 0;
    if (symlinkat(text, n.target, n.target_name) != 0) return stuck(n.source_name);
    return attributes(n, facts);
  }

  outcome<void> special(const node& n, const struct stat& facts) {
    if (mknodat(n.target, n.target_name, (facts.st_mode & S_IFMT) | 0600, facts.st_rdev) != 0) {
      bool whiteout = S_ISCHR(facts.st_mode) && facts.st_rdev == makedev(0, 0);
      // Where we may not make devices they are left out; a lost whiteout would bring a deleted file back.
      return errno == EPERM && !whiteout ? outcome<void>{} : stuck(n.source_name);
    }
    return attributes(n, facts);
  }

  // The owner first: changing it drops capabilities and set-id bits. Times last: everything else changes them.
  static outcome<void> attributes(const node& n, const struct stat& facts) {
    auto inside = [](int directory, const char* name) {
      return "/proc/self/fd/" + std::to_string(directory) + '/' + name;
    };
    if (fchownat(n.target, n.target_name, facts.st_uid, facts.st_gid, AT_SYMLINK_NOFOLLOW) != 0)
      return stuck(n.source_name);
    if (!S_ISLNK(facts.st_mode) && fchmodat(n.target, n.target_name, facts.st_mode & 07777, 0) != 0)
      return stuck(n.source_name);
    auto done = copy_attributes(inside(n.source, n.source_name), inside(n.target, n.target_name), n.source_name);
    if (!done) return done;
    timespec times[] = {facts.st_atim, facts.st_mtim};
    if (utimensat(n.target, n.target_name, times, AT_SYMLINK_NOFOLLOW) != 0) return stuck(n.source_name);
    return {};
  }

  int root_ = -1;
  std::map<std::pair<dev_t, ino_t>, std::string> links_;
};

} // namespace

outcome<void> copy_tree(const std::string& source, const std::string& target) {
  return tree_copier{}.run(source, target);
}

} // namespace troupe
