#include "backends/image/helper/tree_reader.hpp"

#include <cerrno>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <memory>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

namespace troupe::unpack {
namespace {

constexpr const char* parts[] = {"metadata.yaml", "templates", "rootfs"};

tl::unexpected<error> stuck(const std::string& path, int number = errno) {
  return fail_errno(number, "Cannot pack \"" + path.substr(0, 200) + "\"");
}

// The name itself: no link, nothing that is mounted there.
unique_fd open_name(int parent, const char* name, int flags) {
  open_how how{};
  how.flags = static_cast<uint64_t>(flags | O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV;
  return unique_fd{static_cast<int>(syscall(SYS_openat2, parent, name, &how, sizeof how))};
}

outcome<void> read_xattrs(int fd, packed_entry& entry) {
  char names[XATTR_LIST_MAX];
  auto length = flistxattr(fd, names, sizeof names);
  if (length < 0) return errno == ENOTSUP ? outcome<void>{} : stuck(entry.path);
  std::string value;
  for (const char* at = names; at < names + length; at += std::strlen(at) + 1) {
    if (!keeps_xattr(at)) continue;
    value.resize(XATTR_SIZE_MAX);
    auto size = fgetxattr(fd, at, value.data(), value.size());
    if (size < 0 && (errno == ENODATA || errno == ENOTSUP)) continue;
    if (size < 0) return stuck(entry.path);
    entry.xattrs.emplace_back(at, value.substr(0, static_cast<size_t>(size)));
  }
  return {};
}

entry_kind kind_of(const struct stat& facts) {
  switch (facts.st_mode & S_IFMT) {
    case S_IFREG:
      return entry_kind::file;
    case S_IFDIR:
      return entry_kind::directory;
    case S_IFLNK:
      return entry_kind::symlink;
    case S_IFIFO:
      return entry_kind::fifo;
    default:
      return entry_kind::skipped;
  }
}

bool may_be_linked(const struct stat& facts) { return facts.st_nlink > 1 && kind_of(facts) != entry_kind::skipped; }

} // namespace

outcome<void> tree_reader::run() {
  if (!prefix_.empty()) {
    packed_entry top{prefix_};
    if (fstat(root_.get(), &top.facts) != 0) return stuck(prefix_);
    if (auto ok = to_.add(top, -1); !ok) return ok;
  }
  for (auto name : parts)
    if (auto ok = take({root_.get(), name, name}); !ok) return ok;
  return {};
}

outcome<void> tree_reader::take(const node& n) {
  if (taken_.contains(in_archive(n.path))) return {};
  packed_entry entry{in_archive(n.path)};
  if (fstatat(n.parent, n.name, &entry.facts, AT_SYMLINK_NOFOLLOW) != 0)
    return errno == ENOENT ? outcome<void>{} : stuck(n.path);
  auto& facts = entry.facts;
  if (S_ISSOCK(facts.st_mode)) return {};
  if (S_ISDIR(facts.st_mode)) return directory(n, std::move(entry));
  if (may_be_linked(facts)) {
    auto [at, first] = linked_.try_emplace({facts.st_dev, facts.st_ino}, entry.path);
    if (!first) {
      entry.hardlink = at->second;
      return to_.add(entry, -1);
    }
  }
  if (S_ISREG(facts.st_mode)) return file(n, std::move(entry));
  if (S_ISLNK(facts.st_mode)) return symlink(n, std::move(entry));
  auto good = admits(n, entry);
  return good ? to_.add(entry, -1) : tl::unexpected{good.error()}; // fifos, and device nodes
}

outcome<bool> tree_reader::admits(const node& n, const packed_entry& entry) {
  auto kind = kind_of(entry.facts);
  auto size = kind == entry_kind::file ? static_cast<uint64_t>(entry.facts.st_size) : 0;
  auto where = rules_.admit(archive_form::unified, {kind, n.path, entry.link, size});
  if (!where) return tl::unexpected{where.error()};
  return where->has_value();
}

outcome<void> tree_reader::directory(const node& n, packed_entry entry) {
  unique_fd fd{open_name(n.parent, n.name, O_DIRECTORY)};
  if (!fd) return errno == EXDEV ? outcome<void>{} : stuck(n.path); // mounted on it: not of this volume
  auto good = admits(n, entry);
  if (!good) return tl::unexpected{good.error()};
  if (auto ok = read_xattrs(fd.get(), entry); !ok) return ok;
  if (auto ok = to_.add(entry, -1); !ok) return ok;
  return children(fd, n.path);
}

outcome<void> tree_reader::children(const unique_fd& of, const std::string& path) {
  unique_fd listed{open_name(of.get(), ".", O_DIRECTORY)};
  std::unique_ptr<DIR, int (*)(DIR*)> stream{listed ? fdopendir(listed.get()) : nullptr, closedir};
  if (!stream) return stuck(path);
  listed.release();
  for (errno = 0; auto* entry = readdir(stream.get()); errno = 0) {
    std::string_view name{entry->d_name};
    if (name == "." || name == "..") continue;
    if (auto ok = take({of.get(), entry->d_name, path + '/' + entry->d_name}); !ok) return ok;
  }
  return errno == 0 ? outcome<void>{} : stuck(path);
}

outcome<void> tree_reader::file(const node& n, packed_entry entry) {
  unique_fd fd{open_name(n.parent, n.name, 0)};
  if (!fd || fstat(fd.get(), &entry.facts) != 0) return stuck(n.path);
  if (!S_ISREG(entry.facts.st_mode)) return fail(fault::busy, "\"" + n.path + "\" was replaced while it was packed");
  auto good = admits(n, entry);
  if (!good) return tl::unexpected{good.error()};
  if (auto ok = read_xattrs(fd.get(), entry); !ok) return ok;
  if (auto ok = to_.add(entry, fd.get()); !ok) return ok;
  told_.read_more(static_cast<uint64_t>(entry.facts.st_size));
  return {};
}

outcome<void> tree_reader::symlink(const node& n, packed_entry entry) {
  char target[PATH_MAX];
  auto size = readlinkat(n.parent, n.name, target, sizeof target);
  if (size < 0) return stuck(n.path);
  entry.link.assign(target, static_cast<size_t>(size));
  auto good = admits(n, entry);
  return good ? to_.add(entry, -1) : tl::unexpected{good.error()};
}

} // namespace troupe::unpack
