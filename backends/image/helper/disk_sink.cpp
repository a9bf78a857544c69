#include "backends/image/helper/disk_sink.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

namespace troupe::unpack {
namespace {

constexpr size_t early_write_out = 256 << 10; // bytes; smaller files wait for the final sync

constexpr size_t hole_block = 4096;

bool is_zero(const char* data, size_t size) { return data[0] == 0 && std::memcmp(data, data + 1, size - 1) == 0; }

std::string_view name_of(const std::string& path) {
  auto cut = path.rfind('/');
  return cut == path.npos ? std::string_view{path} : std::string_view{path}.substr(cut + 1);
}

std::string directory_of(const std::string& path) {
  auto cut = path.rfind('/');
  return cut == path.npos ? std::string{} : path.substr(0, cut);
}

tl::unexpected<error> failed(const char* what, const std::string& path) {
  auto number = errno;
  auto out = fail_errno(number, std::string{"Cannot "} + what + " \"" + path.substr(0, 200) + "\"");
  return fail(fault::backend_failed, out.value().message);
}

outcome<void> set_xattrs(int fd, const std::string& path, const attributes& attrs) {
  for (const auto& [key, value] : attrs.xattrs)
    if (fsetxattr(fd, key.c_str(), value.data(), value.size(), 0) != 0)
      return failed("set an extended attribute of", path);
  return {};
}

// Order matters: a new owner clears setuid bits and file capabilities, so those come after it.
outcome<void> settle(int fd, const std::string& path, const attributes& attrs) {
  if (fchown(fd, attrs.uid, attrs.gid) != 0) return failed("set the owner of", path);
  if (fchmod(fd, attrs.mode) != 0) return failed("set the mode of", path);
  return set_xattrs(fd, path, attrs);
}

} // namespace

outcome<unique_fd> disk_sink::open_beneath(const std::string& path) {
  open_how how{};
  how.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV;
  for (int attempt = 0;; ++attempt) {
    unique_fd fd{
        static_cast<int>(syscall(SYS_openat2, root_.get(), path.empty() ? "." : path.c_str(), &how, sizeof how))};
    if (fd) return fd;
    if (errno != ENOENT || attempt > 0 || path.empty()) return failed("open the directory", path);
    auto above = open_beneath(directory_of(path)); // as deep as the rules allow
    if (!above) return above;
    // A parent the archive did not name, or names later: then it gets its attributes there.
    const std::string name{name_of(path)};
    if (mkdirat(above->get(), name.c_str(), 0755) != 0 ||
        fchownat(above->get(), name.c_str(), 0, 0, AT_SYMLINK_NOFOLLOW) != 0)
      return failed("create the directory", path);
  }
}

outcome<int> disk_sink::parent_of(const std::string& path) {
  auto parent = directory_of(path);
  if (parent.empty()) return root_.get();
  if (!parent_ || parent != parent_path_) {
    auto fd = open_beneath(parent);
    if (!fd) return tl::unexpected{fd.error()};
    parent_ = std::move(*fd);
    parent_path_ = std::move(parent);
  }
  return parent_.get();
}

outcome<int> disk_sink::make_way(const placement& at) {
  auto parent = parent_of(at.path);
  if (parent && at.replaces && unlinkat(*parent, name_of(at.path).data(), 0) != 0) return failed("replace", at.path);
  return parent;
}

outcome<void> disk_sink::directory(const placement& at, const attributes& attrs) {
  auto parent = make_way(at);
  if (!parent) return tl::unexpected{parent.error()};
  if (mkdirat(*parent, name_of(at.path).data(), 0700) != 0 && errno != EEXIST)
    return failed("create the directory", at.path);
  unique_fd fd{openat(*parent, name_of(at.path).data(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
  if (!fd) return failed("open the directory", at.path);
  if (auto ok = settle(fd.get(), at.path, attrs); !ok) return ok;
  times_.emplace_back(at.path, attrs.modified);
  parent_ = std::move(fd);
  parent_path_ = at.path;
  return {};
}

outcome<void> disk_sink::symlink(const placement& at, const attributes& attrs) {
  auto parent = make_way(at);
  if (!parent) return tl::unexpected{parent.error()};
  const char* name = name_of(at.path).data();
  const timespec times[] = {attrs.modified, attrs.modified};
  if (symlinkat(at.link.c_str(), *parent, name) != 0 ||
      fchownat(*parent, name, attrs.uid, attrs.gid, AT_SYMLINK_NOFOLLOW) != 0 ||
      utimensat(*parent, name, times, AT_SYMLINK_NOFOLLOW) != 0)
    return failed("create the symbolic link", at.path);
  return {};
}

outcome<void> disk_sink::hardlink(const placement& at) {
  auto source = open_beneath(directory_of(at.link));
  if (!source) return tl::unexpected{source.error()};
  auto parent = make_way(at);
  if (!parent) return tl::unexpected{parent.error()};
  if (linkat(source->get(), name_of(at.link).data(), *parent, name_of(at.path).data(), 0) != 0)
    return failed("link", at.path);
  return {};
}

outcome<void> disk_sink::fifo(const placement& at, const attributes& attrs) {
  auto parent = make_way(at);
  if (!parent) return tl::unexpected{parent.error()};
  const char* name = name_of(at.path).data();
  const timespec times[] = {attrs.modified, attrs.modified};
  if (mknodat(*parent, name, S_IFIFO | 0600, 0) != 0 ||
      fchownat(*parent, name, attrs.uid, attrs.gid, AT_SYMLINK_NOFOLLOW) != 0 ||
      fchmodat(*parent, name, attrs.mode, 0) != 0 || utimensat(*parent, name, times, AT_SYMLINK_NOFOLLOW) != 0)
    return failed("create the fifo", at.path);
  return {};
}

outcome<void> disk_sink::begin_file(const placement& at, uint64_t size) {
  auto parent = make_way(at);
  if (!parent) return tl::unexpected{parent.error()};
  file_.reset(openat(*parent, name_of(at.path).data(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file_) return failed("create", at.path);
  file_path_ = at.path;
  file_size_ = size;
  file_end_ = 0;
  sparse_ = at.path == root_disk_name;
  if (sparse_) turn_off_cow(file_.get());
  return {};
}

outcome<void> disk_sink::write(uint64_t offset, const char* data, size_t size) {
  if (offset > file_size_ || size > file_size_ - offset)
    return fail(fault::invalid, "The image has a file longer than it says, \"" + file_path_ + "\"");
  if (!sparse_) return write_at(offset, data, size);
  for (size_t done = 0; done < size;) {
    const bool zeros = is_zero(data + done, std::min(hole_block, size - done));
    size_t run = std::min(hole_block, size - done);
    while (done + run < size && is_zero(data + done + run, std::min(hole_block, size - done - run)) == zeros)
      run += std::min(hole_block, size - done - run);
    if (!zeros)
      if (auto ok = write_at(offset + done, data + done, run); !ok) return ok;
    done += run;
  }
  return {};
}

outcome<void> disk_sink::write_at(uint64_t offset, const char* data, size_t size) {
  while (size > 0) {
    auto n = pwrite(file_.get(), data, size, static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return failed("write", file_path_);
    data += n;
    size -= static_cast<size_t>(n);
    offset += static_cast<uint64_t>(n);
  }
  file_end_ = std::max(file_end_, offset);
  return {};
}

outcome<void> disk_sink::end_file(const attributes& attrs) {
  if (file_end_ < file_size_ && ftruncate(file_.get(), static_cast<off_t>(file_size_)) != 0)
    return failed("extend", file_path_);
  // The disk may start while we decompress; the final sync then finds little left to do.
  if (file_end_ >= early_write_out) sync_file_range(file_.get(), 0, 0, SYNC_FILE_RANGE_WRITE);
  if (auto ok = settle(file_.get(), file_path_, attrs); !ok) return ok;
  const timespec times[] = {attrs.modified, attrs.modified};
  if (futimens(file_.get(), times) != 0) return failed("set the times of", file_path_);
  file_.reset();
  return {};
}

outcome<void> disk_sink::finish() {
  for (const auto& [path, modified] : times_) {
    auto fd = open_beneath(path);
    const timespec times[] = {modified, modified};
    if (!fd) return tl::unexpected{fd.error()};
    if (futimens(fd->get(), times) != 0) return failed("set the times of", path);
  }
  if (syncfs(root_.get()) != 0) return failed("write to disk", "the image");
  return {};
}

} // namespace troupe::unpack
