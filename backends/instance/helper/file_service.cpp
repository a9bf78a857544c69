#include "backends/instance/helper/file_service.hpp"

#include "backends/instance/helper/answer.hpp"
#include "backends/instance/helper/confined.hpp"
#include "backends/instance/helper/sftp.hpp"
#include "messages/config_map.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <dirent.h>
#include <fcntl.h>
#include <sys/vfs.h>
#include <unistd.h>

namespace troupe::files {
namespace {

/// A symlink's target as an absolute path; "..", "." and "//" are resolved as text, as LXD does.
std::string absolute_target(const std::string& link, const std::string& target) {
  auto full = target.starts_with('/') ? target : link.substr(0, link.rfind('/') + 1) + target;
  std::vector<std::string> parts;
  for (size_t at = 0; at < full.size();) {
    auto end = std::min(full.find('/', at), full.size());
    auto part = full.substr(at, end - at);
    at = end + 1;
    if (part.empty() || part == ".") continue;
    if (part != "..")
      parts.push_back(std::move(part));
    else if (!parts.empty())
      parts.pop_back();
  }
  std::string result;
  for (auto& p : parts) result.append("/").append(p);
  return result.empty() ? "/" : result;
}

// A listing is one message: a text is a pointer and whole words there, and about as much here before it is sent.
constexpr size_t listing_bytes_max = frame_bytes_max / 2, entry_bytes = 16;

outcome<std::vector<std::string>> list_entries(int fd, const std::string& path) {
  DIR* directory = ::fdopendir(fd);
  if (directory == nullptr) return fail_errno(errno, "Cannot list " + path);
  std::vector<std::string> names;
  size_t bytes = 0;
  while (auto* entry = bytes <= listing_bytes_max ? ::readdir(directory) : nullptr) {
    std::string_view name = entry->d_name;
    if (name == "." || name == "..") continue;
    names.emplace_back(name);
    bytes += name.size() + entry_bytes;
  }
  ::closedir(directory);
  if (bytes > listing_bytes_max) return fail(fault::too_large, "There are too many entries in " + path);
  std::sort(names.begin(), names.end());
  return names;
}

void fill(schema::HelperAnswer::FileInfo::Builder info, char type, const struct stat& st, uint32_t base) {
  info.setType(static_cast<uint8_t>(type));
  info.setUid(st.st_uid >= base ? st.st_uid - base : st.st_uid);
  info.setGid(st.st_gid >= base ? st.st_gid - base : st.st_gid);
  info.setMode(st.st_mode & 07777);
  info.setSize(static_cast<uint64_t>(st.st_size));
  info.setModified(st.st_mtim.tv_sec);
}

/// Whether the file system below is one that somebody inside may have mounted and lets hang (FUSE, or an overlay on
/// it), or nobody at the socket could take a descriptor. Reading such a file is this process's business, which can be
/// given up; the daemon never touches it.
bool may_hang(const opened_root& root, int fd) {
  if (root.distant) return true;
  static constexpr std::array<unsigned long, 7> local{0xef53 /* ext */,
                                                      0x9123683e /* btrfs */,
                                                      0x58465342 /* xfs */,
                                                      0x01021994 /* tmpfs */,
                                                      0xf2f52010 /* f2fs */,
                                                      0x2fc12fc1 /* zfs */,
                                                      0x858458f6 /* ramfs */};
  struct statfs fs {};
  if (::fstatfs(fd, &fs) < 0) return true;
  if (std::find(local.begin(), local.end(), static_cast<unsigned long>(fs.f_type)) != local.end()) return false;
  struct stat file {
  }, top{};
  return ::fstat(fd, &file) < 0 || ::fstat(root.directory.get(), &top) < 0 || file.st_dev != top.st_dev;
}

constexpr unsigned patience_seconds = 60; // for one call into a file system that may hang
constexpr size_t stream_bytes = 64 << 10;

/// The content to the daemon; a job that is killed on the way leaves the daemon's byte unread, which breaks the stream.
outcome<void> stream_out(int socket, int from) {
  std::vector<char> buffer(stream_bytes);
  for (;;) {
    ::alarm(patience_seconds);
    auto got = ::read(from, buffer.data(), buffer.size());
    ::alarm(0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) ::_exit(1);
    if (got == 0) break;
    if (!write_all(socket, buffer.data(), static_cast<size_t>(got), "the stream")) ::_exit(1);
  }
  char byte = 0;
  return ::read(socket, &byte, 1) == 1 ? outcome<void>{} : fail_errno(errno, "The daemon has gone");
}

outcome<void> stream_in(int socket, unique_fd to, const std::string& path) {
  std::vector<char> buffer(stream_bytes);
  for (;;) {
    ::alarm(0);
    auto got = ::read(socket, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno(errno, "The upload of " + path + " broke off");
    ::alarm(patience_seconds);
    if (got == 0) break;
    if (auto put = write_all(to.get(), buffer.data(), static_cast<size_t>(got), path); !put) return put;
  }
  if (::close(to.release()) != 0) return fail_errno(errno, "Cannot write " + path);
  return send_message(socket, done_answer());
}

outcome<void> read_path(int socket, const opened_root& root, const std::string& path) {
  auto file = open_confined(root.directory.get(), path, O_PATH | O_NOFOLLOW);
  struct stat st {};
  if (!file || ::fstat(file.get(), &st) < 0) return fail_errno(errno, "Cannot open " + path);
  char type = S_ISREG(st.st_mode) ? 'f' : S_ISDIR(st.st_mode) ? 'd' : S_ISLNK(st.st_mode) ? 'l' : 0;
  if (type == 0) return fail(fault::unsupported, "Neither a file, a directory nor a symbolic link: " + path);
  std::string target;
  std::vector<std::string> names;
  unique_fd content;
  if (type == 'l') {
    char buffer[PATH_MAX];
    auto n = ::readlinkat(file.get(), "", buffer, sizeof buffer);
    if (n < 0) return fail_errno(errno, "Cannot read the link " + path);
    target = absolute_target(path, std::string{buffer, static_cast<size_t>(n)});
  } else {
    content = reopen(root.proc.get(), file.get(), O_RDONLY | (type == 'd' ? O_DIRECTORY : 0));
    if (!content) return fail_errno(errno, "Cannot open " + path);
  }
  if (type == 'd') {
    auto listed = list_entries(content.release(), path);
    if (!listed) return tl::unexpected{listed.error()};
    names = std::move(*listed);
  }
  bool streamed = content && may_hang(root, content.get());
  auto told = answer::make([&](schema::HelperAnswer::Builder a) {
    auto info = a.initFile();
    info.setStreamed(streamed);
    fill(info, type, st, root.base);
    info.setTarget(target);
    troupe::fill(info.initEntries(static_cast<unsigned>(names.size())), names);
  });
  if (content && !streamed) return send_message(socket, told, std::array{content.get()});
  if (auto sent = send_message(socket, told); !sent || !streamed) return sent;
  return stream_out(socket, content.get());
}

/// Owner and mode of something that was just made; without the caller's wish it is root's.
outcome<void> dress(const opened_root& root, int fd, schema::FileJob::Write::Reader how, const std::string& path) {
  auto id = [&](int64_t wanted) { return static_cast<uint32_t>(std::max<int64_t>(wanted, 0)) + root.base; };
  if (::fchownat(fd, "", id(how.getUid()), id(how.getGid()), AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0)
    return fail_errno(errno, "Cannot set the owner of " + path);
  // A change of owner clears the set-id bits, so the mode comes after it. There is no chmod of O_PATH descriptors.
  if (how.getMode() < 0 || how.getType() == 'l') return {};
  auto name = std::to_string(fd);
  if (::fchmodat(root.proc.get(), name.c_str(), static_cast<mode_t>(how.getMode()) & 07777, 0) < 0)
    return fail_errno(errno, "Cannot set the mode of " + path);
  return {};
}

outcome<unique_fd> write_regular(const opened_root& root, const std::string& path, schema::FileJob::Write::Reader how) {
  int flags = O_WRONLY | (how.getAppend() ? O_APPEND : 0);
  if (auto there = open_confined(root.directory.get(), path, O_PATH)) {
    struct stat st {};
    if (::fstat(there.get(), &st) < 0 || !S_ISREG(st.st_mode))
      return fail(fault::invalid, "Not a regular file: " + path);
    auto fd = reopen(root.proc.get(), there.get(), flags | (how.getAppend() ? 0 : O_TRUNC));
    if (!fd) return fail_errno(errno, "Cannot open " + path);
    return fd;
  }
  auto fd = open_confined(root.directory.get(), path, static_cast<uint64_t>(flags) | O_CREAT | O_NONBLOCK, 0644);
  struct stat st {};
  if (!fd || ::fstat(fd.get(), &st) < 0) return fail_errno(errno, "Cannot create " + path);
  if (!S_ISREG(st.st_mode)) return fail(fault::invalid, "Not a regular file: " + path);
  if (auto dressed = dress(root, fd.get(), how, path); !dressed) return tl::unexpected{dressed.error()};
  return fd;
}

outcome<void> make_other(const opened_root& root, const std::string& path, schema::FileJob::Write::Reader how) {
  if (how.getType() == 'd' && path.find_first_not_of('/') == std::string::npos) return {};
  auto parts = split(path);
  if (!parts) return tl::unexpected{parts.error()};
  auto parent = open_confined(root.directory.get(), parts->parent, O_PATH | O_DIRECTORY);
  if (!parent) return fail_errno(errno, "Cannot open the directory " + parts->parent);
  const char* name = parts->name.c_str();
  int made = how.getType() == 'd' ? ::mkdirat(parent.get(), name, 0755)
                                  : ::symlinkat(text(how.getTarget()).c_str(), parent.get(), name);
  if (made < 0 && errno == EEXIST) {
    if (how.getType() == 'd' && open_confined(root.directory.get(), path, O_PATH | O_DIRECTORY)) return {};
    return fail(fault::already_exists, "There is already something else at " + path);
  }
  if (made < 0) return fail_errno(errno, "Cannot create " + path);
  unique_fd fd{::openat(parent.get(), name, O_PATH | O_NOFOLLOW | O_CLOEXEC)};
  if (!fd) return fail_errno(errno, "Cannot open " + path);
  return dress(root, fd.get(), how, path);
}

outcome<void> write_path(int socket, const opened_root& root, const std::string& path,
                         schema::FileJob::Write::Reader how) {
  if (root.ids > 0 && std::max(how.getUid(), how.getGid()) >= root.ids) // beyond them are the ids of others
    return fail(fault::invalid,
                "The instance has no such user or group; its ids end at " + std::to_string(root.ids - 1));
  if (how.getType() == 'f') {
    auto fd = write_regular(root, path, how);
    if (!fd) return tl::unexpected{fd.error()};
    if (!may_hang(root, fd->get())) return send_message(socket, done_answer(), std::array{fd->get()});
    if (auto sent = send_message(socket, done_answer()); !sent) return sent;
    return stream_in(socket, std::move(*fd), path);
  }
  if (how.getType() != 'd' && how.getType() != 'l')
    return fail(fault::invalid, "Only files, directories and links can be made");
  auto made = make_other(root, path, how);
  return made ? send_message(socket, done_answer()) : made;
}

outcome<void> remove_path(int socket, const opened_root& root, const std::string& path) {
  auto parts = split(path);
  if (!parts) return tl::unexpected{parts.error()};
  auto parent = open_confined(root.directory.get(), parts->parent, O_PATH | O_DIRECTORY);
  if (!parent) return fail_errno(errno, "Cannot open the directory " + parts->parent);
  int gone = ::unlinkat(parent.get(), parts->name.c_str(), 0);
  if (gone < 0 && errno == EISDIR) gone = ::unlinkat(parent.get(), parts->name.c_str(), AT_REMOVEDIR);
  if (gone < 0 && errno == ENOTEMPTY) return fail(fault::invalid, "The directory is not empty: " + path);
  if (gone < 0) return fail_errno(errno, "Cannot remove " + path);
  return send_message(socket, done_answer());
}

} // namespace

outcome<void> serve_file(int socket, const opened_root& root, schema::FileJob::Reader request) {
  auto path = "/" + text(request.getPath());
  switch (request.which()) {
    case schema::FileJob::READ:
      return read_path(socket, root, path);
    case schema::FileJob::WRITE:
      return write_path(socket, root, path, request.getWrite());
    case schema::FileJob::REMOVE:
      return remove_path(socket, root, path);
    case schema::FileJob::SFTP:
      ::alarm(0); // as long as somebody is at the other end
      if (auto told = send_message(socket, done_answer()); !told) return told;
      return serve_sftp(socket, root.directory.get(), root.proc.get(), {root.base, root.ids});
  }
  return fail(fault::unsupported, "The helper does not know this file job");
}

} // namespace troupe::files
