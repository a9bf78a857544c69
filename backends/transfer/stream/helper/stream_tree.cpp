#include "backends/transfer/stream/helper/stream_tree.hpp"

#include "backends/image/helper/tree_sink.hpp"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <vector>

namespace troupe::transfer {
namespace {

constexpr size_t block_size = 256 << 10;
constexpr uint64_t id_max = INT32_MAX;

std::string shown(std::string_view path) {
  std::string out = "\"";
  for (unsigned char c : path.substr(0, 200)) out += c < 0x20 || c >= 0x7f ? '?' : static_cast<char>(c);
  return out + '"';
}

// What the stream asks for cannot be done in this tree: it is at fault, unless the disk is.
tl::unexpected<error> failed(const char* what, std::string_view path) {
  auto number = errno;
  bool of_disk = number == ENOSPC || number == EDQUOT || number == EIO || number == ENOMEM;
  auto out = fail_errno(number, std::string{"Cannot "} + what + " " + shown(path));
  return fail(of_disk ? fault::backend_failed : fault::invalid, out.value().message);
}

outcome<void> done(bool good, const char* what, std::string_view path) {
  return good ? outcome<void>{} : failed(what, path);
}

int open_beneath(int root, const std::string& path, uint64_t flags) {
  open_how how{};
  how.flags = flags | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV;
  return static_cast<int>(syscall(SYS_openat2, root, path.empty() ? "." : path.c_str(), &how, sizeof how));
}

// Where the file systems cannot share the extents.
outcome<void> copy_bytes(int from, uint64_t at, int to, uint64_t into, uint64_t size, std::string_view path) {
  std::vector<char> block(block_size);
  while (size > 0) {
    auto got = pread(from, block.data(), std::min<uint64_t>(size, block.size()), static_cast<off_t>(at));
    if (got < 0) return failed("read", path);
    if (got == 0) return fail(fault::invalid, "The stream clones behind the end of " + shown(path));
    auto put = pwrite(to, block.data(), static_cast<size_t>(got), static_cast<off_t>(into));
    if (put <= 0) return failed("write", path);
    at += static_cast<uint64_t>(put);
    into += static_cast<uint64_t>(put);
    size -= static_cast<uint64_t>(put);
  }
  return {};
}

} // namespace

outcome<void> stream_tree::check(std::string_view path) const {
  auto refused = [&] { return fail(fault::invalid, "The stream has a path that cannot be, " + shown(path)); };
  if (path.size() > limits_.path_max || path.find('\0') != path.npos) return refused();
  for (size_t begin = 0; begin <= path.size();) {
    auto end = std::min(path.find('/', begin), path.size());
    auto part = path.substr(begin, end - begin);
    if (part.empty() || part == "." || part == ".." || part.size() > 255) return refused();
    begin = end + 1;
  }
  return {};
}

outcome<stream_tree::place> stream_tree::locate(std::string_view path, bool may_be_root) {
  if (path.empty() && may_be_root) return place{root_.get(), "."};
  if (auto good = check(path); !good) return tl::unexpected{good.error()};
  auto cut = path.rfind('/');
  if (cut == path.npos) return place{root_.get(), std::string{path}};
  auto above = path.substr(0, cut);
  if (!parent_ || above != parent_path_) {
    parent_.reset(open_beneath(root_.get(), std::string{above}, O_PATH | O_DIRECTORY));
    if (!parent_) return failed("open the directory of", path);
    parent_path_ = above;
  }
  return place{parent_.get(), std::string{path.substr(cut + 1)}};
}

void stream_tree::forget_places() {
  parent_.reset();
  file_.reset();
}

outcome<unique_fd> stream_tree::open_file(int root, std::string_view path, int flags) const {
  if (auto good = check(path); !good) return tl::unexpected{good.error()};
  unique_fd file{open_beneath(root, std::string{path}, static_cast<uint64_t>(flags) | O_NOFOLLOW | O_NONBLOCK)};
  if (!file) return failed("open", path);
  struct stat facts {};
  if (fstat(file.get(), &facts) != 0 || !S_ISREG(facts.st_mode))
    return fail(fault::invalid, "The stream takes " + shown(path) + " for a file");
  return file;
}

outcome<int> stream_tree::writable(std::string_view path) {
  if (!file_ || path != file_path_) {
    auto file = open_file(root_.get(), path, O_WRONLY);
    if (!file) return tl::unexpected{file.error()};
    file_ = std::move(*file);
    file_path_ = path;
  }
  return file_.get();
}

outcome<void> stream_tree::count_bytes(uint64_t from, uint64_t size) {
  if (size <= limits_.bytes_max - bytes_ && from <= limits_.bytes_max - size) return bytes_ += size, outcome<void>{};
  return fail(fault::too_large, "The stream unpacks to more than " + std::to_string(limits_.bytes_max) + " bytes");
}

tl::unexpected<error> stream_tree::too_many() const {
  return fail(fault::too_large, "The stream has more than " + std::to_string(limits_.entries_max) + " entries");
}

outcome<void> stream_tree::apply(const send_command& command) {
  bool begins = command.verb == send_verb::subvolume || command.verb == send_verb::snapshot;
  if (begins == begun_) return fail(fault::invalid, "The stream is not of one subvolume");
  return begins ? begin(command) : act(command);
}

outcome<void> stream_tree::begin(const send_command& command) {
  if ((command.verb == send_verb::snapshot) != base_.has_value() || (base_ && command.clone_id != base_->id))
    return fail(fault::invalid, "The stream builds on another subvolume than the one before it");
  id_ = command.id;
  begun_ = true;
  return {};
}

outcome<void> stream_tree::act(const send_command& command) {
  switch (command.verb) {
    case send_verb::make_file:
    case send_verb::make_directory:
    case send_verb::make_node:
    case send_verb::make_fifo:
    case send_verb::make_socket:
    case send_verb::symlink:
      return make(command);
    case send_verb::rename:
      return rename(command);
    case send_verb::link:
      return link(command);
    case send_verb::unlink:
      return remove(command, 0);
    case send_verb::remove_directory:
      return remove(command, AT_REMOVEDIR);
    case send_verb::set_xattr:
    case send_verb::remove_xattr:
      return xattr(command);
    case send_verb::write:
      return write(command);
    case send_verb::clone:
      return clone(command);
    case send_verb::truncate:
      return truncate(command);
    case send_verb::change_mode:
      return change_mode(command);
    default:
      return settle(command);
  }
}

outcome<void> stream_tree::make(const send_command& command) {
  if (++entries_ > limits_.entries_max) return too_many();
  auto at = locate(command.path);
  if (!at) return tl::unexpected{at.error()};
  const char* name = at->name.c_str();
  auto node = [&](mode_t type, dev_t device = 0) {
    return done(mknodat(at->parent, name, type | 0600, device) == 0, "make", command.path);
  };
  switch (command.verb) {
    case send_verb::make_directory:
      return done(mkdirat(at->parent, name, 0700) == 0, "make the directory", command.path);
    case send_verb::make_fifo:
      return node(S_IFIFO);
    case send_verb::make_socket:
      return node(S_IFSOCK);
    case send_verb::make_node: {
      auto type = static_cast<mode_t>(command.mode) & S_IFMT;
      if (type != S_IFCHR && type != S_IFBLK) return fail(fault::invalid, "The stream has a node of no known type");
      return node(type, static_cast<dev_t>(command.device));
    }
    case send_verb::symlink: {
      std::string target{command.link};
      if (target.empty() || target.size() >= 4096 || target.find('\0') != target.npos)
        return fail(fault::invalid, "The stream has a symbolic link to nowhere, " + shown(command.path));
      return done(symlinkat(target.c_str(), at->parent, name) == 0, "make the link", command.path);
    }
    default:
      return node(S_IFREG);
  }
}

outcome<stream_tree::second_place> stream_tree::locate_second(std::string_view path) const {
  if (auto good = check(path); !good) return tl::unexpected{good.error()};
  auto cut = path.rfind('/');
  auto above = cut == path.npos ? std::string{} : std::string{path.substr(0, cut)};
  unique_fd parent{open_beneath(root_.get(), above, O_PATH | O_DIRECTORY)};
  if (!parent) return failed("open the directory of", path);
  return second_place{std::move(parent), std::string{cut == path.npos ? path : path.substr(cut + 1)}};
}

outcome<void> stream_tree::rename(const send_command& command) {
  auto to = locate_second(command.to);
  if (!to) return tl::unexpected{to.error()};
  auto from = locate(command.path);
  if (!from) return tl::unexpected{from.error()};
  bool good = syscall(SYS_renameat2, from->parent, from->name.c_str(), to->parent.get(), to->name.c_str(), 0) == 0;
  auto out = done(good, "rename", command.path);
  forget_places();
  return out;
}

outcome<void> stream_tree::link(const send_command& command) {
  if (++entries_ > limits_.entries_max) return too_many();
  auto to = locate_second(command.link);
  if (!to) return tl::unexpected{to.error()};
  auto at = locate(command.path);
  if (!at) return tl::unexpected{at.error()};
  return done(linkat(to->parent.get(), to->name.c_str(), at->parent, at->name.c_str(), 0) == 0, "link", command.path);
}

outcome<void> stream_tree::remove(const send_command& command, int flags) {
  auto at = locate(command.path);
  if (!at) return tl::unexpected{at.error()};
  auto out = done(unlinkat(at->parent, at->name.c_str(), flags) == 0, "remove", command.path);
  forget_places();
  return out;
}

outcome<void> stream_tree::xattr(const send_command& command) {
  std::string key{command.xattr};
  if (key.find('\0') != key.npos || !unpack::keeps_xattr(key)) return {};
  auto at = locate(command.path, true);
  if (!at) return tl::unexpected{at.error()};
  // By path only, and without following: from the directory itself.
  if (fchdir(at->parent) != 0) return failed("enter the directory of", command.path);
  const char* name = at->name.c_str();
  bool good = command.verb == send_verb::set_xattr
                  ? lsetxattr(name, key.c_str(), command.data.data(), command.data.size(), 0) == 0
                  : lremovexattr(name, key.c_str()) == 0 || errno == ENODATA;
  return done(good, "set an extended attribute of", command.path);
}

outcome<void> stream_tree::write(const send_command& command) {
  if (auto good = count_bytes(command.offset, command.data.size()); !good) return good;
  auto file = writable(command.path);
  if (!file) return tl::unexpected{file.error()};
  auto rest = command.data;
  auto offset = static_cast<off_t>(command.offset);
  while (!rest.empty()) {
    auto put = pwrite(*file, rest.data(), rest.size(), offset);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return failed("write", command.path);
    rest.remove_prefix(static_cast<size_t>(put));
    offset += put;
  }
  return {};
}

outcome<void> stream_tree::clone(const send_command& command) {
  if (auto good = count_bytes(command.offset, command.clone_size); !good) return good;
  bool of_base = base_ && command.clone_id == base_->id;
  if (!of_base && command.clone_id != id_)
    return fail(fault::invalid, "The stream clones from a subvolume that does not belong to it");
  auto from = open_file(of_base ? base_->root.get() : root_.get(), command.clone_path, O_RDONLY);
  if (!from) return tl::unexpected{from.error()};
  auto into = writable(command.path);
  if (!into) return tl::unexpected{into.error()};
  file_clone_range range{};
  range.src_fd = from->get();
  range.src_offset = command.clone_offset;
  range.src_length = command.clone_size;
  range.dest_offset = command.offset;
  if (command.clone_size > 0 && ioctl(*into, FICLONERANGE, &range) == 0) return {};
  return copy_bytes(from->get(), command.clone_offset, *into, command.offset, command.clone_size, command.path);
}

outcome<void> stream_tree::truncate(const send_command& command) {
  if (command.size > limits_.bytes_max) return count_bytes(command.size, 0);
  auto file = writable(command.path);
  if (!file) return tl::unexpected{file.error()};
  return done(ftruncate(*file, static_cast<off_t>(command.size)) == 0, "set the size of", command.path);
}

outcome<void> stream_tree::change_mode(const send_command& command) {
  auto at = locate(command.path, true);
  if (!at) return tl::unexpected{at.error()};
  struct stat facts {};
  if (fstatat(at->parent, at->name.c_str(), &facts, AT_SYMLINK_NOFOLLOW) != 0) return failed("look at", command.path);
  if (S_ISLNK(facts.st_mode)) return fail(fault::invalid, "The stream sets the mode of a link, " + shown(command.path));
  auto mode = static_cast<mode_t>(command.mode) & 07777;
  return done(fchmodat(at->parent, at->name.c_str(), mode, 0) == 0, "set the mode of", command.path);
}

outcome<void> stream_tree::settle(const send_command& command) {
  auto at = locate(command.path, true);
  if (!at) return tl::unexpected{at.error()};
  if (command.verb == send_verb::set_times) {
    const timespec times[] = {command.accessed, command.modified};
    return done(utimensat(at->parent, at->name.c_str(), times, AT_SYMLINK_NOFOLLOW) == 0, "set the times of",
                command.path);
  }
  if (command.owner > id_max || command.group > id_max)
    return fail(fault::invalid, "The stream has a file whose owner is out of range, " + shown(command.path));
  return done(fchownat(at->parent, at->name.c_str(), static_cast<uid_t>(command.owner),
                       static_cast<gid_t>(command.group), AT_SYMLINK_NOFOLLOW) == 0,
              "set the owner of", command.path);
}

outcome<void> stream_tree::finish() {
  if (!begun_) return fail(fault::invalid, "The stream is empty");
  forget_places();
  if (fchown(root_.get(), 0, 0) != 0 || fchmod(root_.get(), 0700) != 0) return failed("set the mode of", "/");
  return done(syncfs(root_.get()) == 0, "write to disk", "/");
}

} // namespace troupe::transfer
