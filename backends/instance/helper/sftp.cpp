#include "backends/instance/helper/sftp.hpp"

#include "backends/instance/helper/confined.hpp"
#include "backends/instance/helper/sftp_packet.hpp"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <dirent.h>
#include <fcntl.h>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <sys/statvfs.h>
#include <unistd.h>

namespace troupe::files {
namespace {

using sftp::kind;
using sftp::reader;
using sftp::status;
using sftp::writer;

constexpr uint32_t packet_bytes_max = (256 << 10) + 1024; // as OpenSSH's
constexpr uint32_t read_bytes_max = 256 << 10;
constexpr size_t handles_max = 1024;
constexpr int names_per_answer = 100;
constexpr unsigned patience_seconds = 60; // for one answer

enum attribute : uint32_t { has_size = 1, has_owner = 2, has_mode = 4, has_times = 8, has_more = 0x80000000 };

/// What a client wants to be set.
struct attributes {
  uint32_t flags = 0;
  uint64_t size = 0;
  uint32_t uid = 0, gid = 0, mode = 0, accessed = 0, modified = 0;

  explicit attributes(reader& from) : flags{from.u32()} {
    if (flags & has_size) size = from.u64();
    if (flags & has_owner) uid = from.u32(), gid = from.u32();
    if (flags & has_mode) mode = from.u32() & 07777;
    if (flags & has_times) accessed = from.u32(), modified = from.u32();
    if (!(flags & has_more)) return;
    for (auto count = from.u32(); count > 0 && from.good(); --count) from.text(), from.text();
  }
};

struct close_directory {
  void operator()(DIR* it) const { ::closedir(it); }
};
struct open_handle {
  unique_fd file;
  std::unique_ptr<DIR, close_directory> list; // a directory's
  int fd() const { return list ? ::dirfd(list.get()) : file.get(); }
};

status status_of(int number) {
  switch (number) {
    case 0:
      return status::ok;
    case ENOENT:
    case ENOTDIR:
    case ELOOP:
      return status::no_such_file;
    case EACCES:
    case EPERM:
    case EROFS:
      return status::permission_denied;
    case ENOSYS:
    case EOPNOTSUPP:
      return status::unsupported;
    case EBADMSG:
      return status::bad_message;
    default:
      return status::failure;
  }
}

/// "/a/../b" -> "/b", by its text: what a client shows of where it is.
std::string normal(std::string_view path) {
  std::vector<std::string_view> parts;
  while (!path.empty()) {
    auto part = path.substr(0, path.find('/'));
    path.remove_prefix(std::min(part.size() + 1, path.size()));
    if (part == "..") {
      if (!parts.empty()) parts.pop_back();
    } else if (!part.empty() && part != ".") {
      parts.push_back(part);
    }
  }
  std::string out;
  for (auto part : parts) out.append("/").append(part);
  return out.empty() ? "/" : out;
}

/// Where something is to be made or removed: its directory, opened, and its name.
struct place {
  unique_fd parent;
  std::string name;
};

class server {
public:
  server(int socket, int root, int proc, sftp_ids ids)
      : socket_{socket}, root_{root}, proc_{proc}, base_{ids.base}, ids_{ids.count} {}

  outcome<void> run() {
    for (std::string packet; receive(packet);) {
      ::alarm(patience_seconds); // the client may go away while a file system hangs, and nobody else ends this
      if (auto sent = answer(packet); !sent) return sent;
      ::alarm(0);
    }
    return {};
  }

private:
  // ---- packets

  bool receive_all(char* data, size_t left) {
    while (left > 0) {
      auto got = ::read(socket_, data, left);
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) return false;
      data += got;
      left -= static_cast<size_t>(got);
    }
    return true;
  }
  /// False: the peer has gone, or speaks something else.
  bool receive(std::string& packet) {
    char head[4];
    if (!receive_all(head, sizeof head)) return false;
    auto size = reader{{head, sizeof head}}.u32();
    if (size == 0 || size > packet_bytes_max) return false;
    packet.resize(size);
    return receive_all(packet.data(), size);
  }
  outcome<void> send(writer&& what) {
    ::alarm(0); // a client takes its time
    auto bytes = std::move(what).take();
    return write_all(socket_, bytes.data(), bytes.size(), "to the SFTP client");
  }
  writer said(uint32_t id, status what) {
    static constexpr const char* words[] = {"Success",           "End of file",     "No such file",
                                            "Permission denied", "Failure",         "Bad message",
                                            "No connection",     "Connection lost", "Operation unsupported"};
    auto number = static_cast<uint32_t>(what);
    writer out{kind::status};
    out.u32(id).u32(number).text(words[number]).text("");
    return out;
  }
  /// errno, if a call has failed.
  writer done(uint32_t id, int result) { return said(id, result < 0 ? status_of(errno) : status::ok); }

  outcome<void> answer(const std::string& packet) {
    reader in{packet};
    auto what = static_cast<kind>(in.byte());
    if (what == kind::init) {
      writer out{kind::version};
      out.u32(3);
      for (auto extension : {"posix-rename@openssh.com", "hardlink@openssh.com", "fsync@openssh.com"})
        out.text(extension).text("1");
      out.text("statvfs@openssh.com").text("2");
      return send(std::move(out));
    }
    auto id = in.u32();
    if (!in.good()) return send(said(id, status::bad_message));
    return send(perform(what, id, in));
  }

  writer perform(kind what, uint32_t id, reader& in) {
    switch (what) {
      case kind::open:
        return open(id, in);
      case kind::close:
        return close(id, in);
      case kind::read:
        return read(id, in);
      case kind::write:
        return write(id, in);
      case kind::lstat:
        return stat(id, in, O_NOFOLLOW);
      case kind::stat:
        return stat(id, in, 0);
      case kind::fstat:
        return with_handle(id, in, [&](open_handle& it) { return told(id, it.fd()); });
      case kind::setstat:
        return set(id, in);
      case kind::fsetstat:
        return with_handle(id, in, [&](open_handle& it) { return done(id, apply(it.fd(), attributes{in})); });
      case kind::opendir:
        return open_directory(id, in);
      case kind::readdir:
        return list(id, in);
      case kind::remove:
        return at_place(id, in, [](place& p) { return ::unlinkat(p.parent.get(), p.name.c_str(), 0); });
      case kind::rmdir:
        return at_place(id, in, [](place& p) { return ::unlinkat(p.parent.get(), p.name.c_str(), AT_REMOVEDIR); });
      case kind::mkdir:
        return make_directory(id, in);
      case kind::realpath:
        return name(id, normal(in.text()));
      case kind::rename:
        return move(id, in, RENAME_NOREPLACE);
      case kind::readlink:
        return read_link(id, in);
      case kind::symlink:
        return make_link(id, in);
      case kind::extended:
        return extended(id, in);
      default:
        return said(id, status::unsupported);
    }
  }

  // ---- paths and handles

  /// What is there under the path that comes next; -1 with errno if nothing is.
  unique_fd find(reader& in, int flags) { return find(path_in(in), flags); }
  unique_fd find(const std::optional<std::string>& path, int flags) {
    return path ? open_confined(root_, *path, O_PATH | static_cast<uint64_t>(flags)) : unique_fd{};
  }
  /// Absolute; nullopt with errno.
  static std::optional<std::string> path_in(reader& in) {
    auto path = in.text();
    errno = in.good() ? EINVAL : EBADMSG;
    if (!in.good() || path.find('\0') != path.npos) return std::nullopt;
    return "/" + std::string{path};
  }

  bool find_place(reader& in, place& out) {
    auto path = path_in(in);
    if (!path) return false;
    auto parts = split(*path);
    if (!parts) return errno = EINVAL, false;
    out.name = parts->name;
    out.parent = find(parts->parent, O_DIRECTORY);
    return static_cast<bool>(out.parent);
  }
  template <class Act>
  writer at_place(uint32_t id, reader& in, Act act) {
    place where;
    if (!find_place(in, where)) return done(id, -1);
    return done(id, act(where));
  }
  template <class Act>
  writer with_handle(uint32_t id, reader& in, Act act) {
    auto name = in.text();
    auto at = handles_.find(std::string{name});
    if (at == handles_.end()) return said(id, status::failure);
    return act(at->second);
  }
  writer keep(uint32_t id, open_handle&& what) {
    auto name = std::to_string(++last_handle_);
    handles_.emplace(name, std::move(what));
    writer out{kind::handle};
    out.u32(id).text(name);
    return out;
  }

  // ---- files

  static int flags_of(uint32_t wanted) {
    enum { reads = 1, writes = 2, appends = 4, creates = 8, truncates = 16, exclusive = 32 };
    int out = wanted & writes ? (wanted & reads ? O_RDWR : O_WRONLY) : O_RDONLY;
    if (wanted & appends) out |= O_APPEND;
    if (wanted & creates) out |= O_CREAT;
    if (wanted & truncates) out |= O_TRUNC;
    if (wanted & exclusive) out |= O_EXCL;
    return out;
  }

  writer open(uint32_t id, reader& in) {
    auto path = path_in(in);
    int flags = flags_of(in.u32());
    attributes how{in};
    if (!in.good() || !path) return said(id, status::bad_message);
    if (handles_.size() >= handles_max) return said(id, status::failure);
    open_handle out;
    if (auto there = find(path, 0); there && !(flags & O_CREAT && flags & O_EXCL)) {
      struct stat st {};
      if (::fstat(there.get(), &st) < 0) return done(id, -1);
      if (!S_ISREG(st.st_mode)) return said(id, status::failure); // a device or a pipe of the guest is nobody's here
      out.file = reopen(proc_, there.get(), flags & ~(O_CREAT | O_EXCL));
    } else if (flags & O_CREAT) {
      out.file = open_confined(root_, *path, static_cast<uint64_t>(flags) | O_NONBLOCK | O_EXCL,
                               how.flags & has_mode ? how.mode : 0644);
      how.flags &= ~static_cast<uint32_t>(has_size);
      if (out.file && ::fchown(out.file.get(), base_, base_) == 0) apply(out.file.get(), how);
    } else {
      errno = ENOENT;
    }
    return out.file ? keep(id, std::move(out)) : done(id, -1);
  }

  writer close(uint32_t id, reader& in) {
    auto at = handles_.find(std::string{in.text()});
    if (at == handles_.end()) return said(id, status::failure);
    auto gone = std::move(at->second);
    handles_.erase(at);
    return done(id, gone.list ? 0 : ::close(gone.file.release()));
  }

  writer read(uint32_t id, reader& in) {
    return with_handle(id, in, [&](open_handle& it) {
      auto offset = in.u64();
      buffer_.resize(std::min(in.u32(), read_bytes_max));
      auto got = ::pread(it.file.get(), buffer_.data(), buffer_.size(), static_cast<off_t>(offset));
      if (got == 0) return said(id, status::end_of_file);
      if (got < 0) return done(id, -1);
      writer out{kind::data};
      out.u32(id).text({buffer_.data(), static_cast<size_t>(got)});
      return out;
    });
  }

  writer write(uint32_t id, reader& in) {
    return with_handle(id, in, [&](open_handle& it) {
      auto offset = in.u64();
      for (auto data = in.text(); !data.empty();) {
        auto put = ::pwrite(it.file.get(), data.data(), data.size(), static_cast<off_t>(offset));
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) return done(id, -1);
        data.remove_prefix(static_cast<size_t>(put));
        offset += static_cast<uint64_t>(put);
      }
      return said(id, in.good() ? status::ok : status::bad_message);
    });
  }

  // ---- attributes

  void add(writer& out, const struct stat& st) {
    auto inside = [&](uint32_t it) { return it >= base_ ? it - base_ : it; };
    out.u32(has_size | has_owner | has_mode | has_times).u64(static_cast<uint64_t>(st.st_size));
    out.u32(inside(st.st_uid)).u32(inside(st.st_gid)).u32(st.st_mode);
    out.u32(static_cast<uint32_t>(st.st_atim.tv_sec)).u32(static_cast<uint32_t>(st.st_mtim.tv_sec));
  }
  writer told(uint32_t id, int fd) {
    struct stat st {};
    if (fd < 0 || ::fstat(fd, &st) < 0) return done(id, -1);
    writer out{kind::attrs};
    add(out.u32(id), st);
    return out;
  }
  writer stat(uint32_t id, reader& in, int follow) { return told(id, find(in, follow).get()); }

  writer set(uint32_t id, reader& in) {
    auto there = find(in, 0);
    if (!there) return done(id, -1);
    return done(id, apply(there.get(), attributes{in}));
  }

  /// -1 with errno: the first that failed. The owner comes first: changing it clears the set-id bits.
  int apply(int fd, const attributes& how) {
    auto name = std::to_string(fd); // there is no chmod of O_PATH descriptors
    if (how.flags & has_size) {
      struct stat st {};
      if (::fstat(fd, &st) < 0) return -1;
      if (!S_ISREG(st.st_mode)) return errno = EINVAL, -1;
      auto file = reopen(proc_, fd, O_WRONLY);
      if (!file || ::ftruncate(file.get(), static_cast<off_t>(how.size)) < 0) return -1;
    }
    if (how.flags & has_owner && ids_ > 0 && std::max(how.uid, how.gid) >= ids_) return errno = EINVAL, -1;
    if (how.flags & has_owner && ::fchownat(fd, "", how.uid + base_, how.gid + base_, AT_EMPTY_PATH) < 0) return -1;
    if (how.flags & has_mode && ::fchmodat(proc_, name.c_str(), how.mode, 0) < 0) return -1;
    timespec times[] = {{how.accessed, 0}, {how.modified, 0}};
    if (how.flags & has_times && ::utimensat(proc_, name.c_str(), times, 0) < 0) return -1;
    return 0;
  }

  // ---- directories

  writer open_directory(uint32_t id, reader& in) {
    if (handles_.size() >= handles_max) return said(id, status::failure);
    auto there = find(in, O_DIRECTORY);
    auto fd = there ? reopen(proc_, there.get(), O_RDONLY | O_DIRECTORY) : unique_fd{};
    open_handle out;
    if (fd) out.list.reset(::fdopendir(fd.get()));
    if (!out.list) return done(id, -1);
    fd.release();
    return keep(id, std::move(out));
  }

  writer list(uint32_t id, reader& in) {
    return with_handle(id, in, [&](open_handle& it) {
      if (!it.list) return said(id, status::failure);
      writer names{kind::name};
      std::vector<std::pair<std::string, struct stat>> found;
      while (found.size() < names_per_answer) {
        auto* entry = ::readdir(it.list.get());
        if (!entry) break;
        struct stat st {};
        if (::fstatat(::dirfd(it.list.get()), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
          found.emplace_back(entry->d_name, st);
      }
      if (found.empty()) return said(id, status::end_of_file);
      names.u32(id).u32(found.size());
      for (auto& [entry, st] : found) add(names.text(entry).text(long_name(entry, st)), st);
      return names;
    });
  }

  /// The line of `ls -l` that clients may show; numbers, because the guest's names of users are nobody's here.
  std::string long_name(const std::string& entry, const struct stat& st) {
    char text[128];
    char type = S_ISDIR(st.st_mode) ? 'd' : S_ISLNK(st.st_mode) ? 'l' : '-';
    std::snprintf(text, sizeof text, "%c%04o %u %u %u %lld ", type, st.st_mode & 07777,
                  static_cast<unsigned>(st.st_nlink), st.st_uid - std::min(st.st_uid, base_),
                  st.st_gid - std::min(st.st_gid, base_), static_cast<long long>(st.st_size));
    return text + entry;
  }

  writer make_directory(uint32_t id, reader& in) {
    place where;
    if (!find_place(in, where)) return done(id, -1);
    attributes how{in};
    how.flags &= ~static_cast<uint32_t>(has_size);
    if (::mkdirat(where.parent.get(), where.name.c_str(), how.flags & has_mode ? how.mode : 0755) < 0)
      return done(id, -1);
    unique_fd made{::openat(where.parent.get(), where.name.c_str(), O_PATH | O_NOFOLLOW | O_DIRECTORY | O_CLOEXEC)};
    if (!made || ::fchownat(made.get(), "", base_, base_, AT_EMPTY_PATH) < 0) return done(id, -1);
    return done(id, apply(made.get(), how));
  }

  // ---- names and links

  writer name(uint32_t id, const std::string& path) {
    writer out{kind::name};
    out.u32(id).u32(1).text(path).text(path).u32(0);
    return out;
  }

  writer move(uint32_t id, reader& in, unsigned flags) {
    place from, to;
    if (!find_place(in, from) || !find_place(in, to)) return done(id, -1);
    return done(id, ::renameat2(from.parent.get(), from.name.c_str(), to.parent.get(), to.name.c_str(), flags));
  }

  writer read_link(uint32_t id, reader& in) {
    auto there = find(in, O_NOFOLLOW);
    char target[PATH_MAX];
    auto size = there ? ::readlinkat(there.get(), "", target, sizeof target) : -1;
    return size < 0 ? done(id, -1) : name(id, {target, static_cast<size_t>(size)});
  }

  /// The target comes first: OpenSSH has them the other way round than the draft, and so have all clients.
  writer make_link(uint32_t id, reader& in) {
    std::string target{in.text()};
    return at_place(id, in, [&](place& where) {
      if (::symlinkat(target.c_str(), where.parent.get(), where.name.c_str()) < 0) return -1;
      return ::fchownat(where.parent.get(), where.name.c_str(), base_, base_, AT_SYMLINK_NOFOLLOW);
    });
  }

  // ---- OpenSSH's extensions

  writer extended(uint32_t id, reader& in) {
    auto what = in.text();
    if (what == "posix-rename@openssh.com") return move(id, in, 0);
    if (what == "hardlink@openssh.com") return hard_link(id, in);
    if (what == "fsync@openssh.com")
      return with_handle(id, in, [&](open_handle& it) { return done(id, ::fsync(it.fd())); });
    if (what == "statvfs@openssh.com") return space(id, in);
    return said(id, status::unsupported);
  }

  writer hard_link(uint32_t id, reader& in) {
    place from, to;
    if (!find_place(in, from) || !find_place(in, to)) return done(id, -1);
    return done(id, ::linkat(from.parent.get(), from.name.c_str(), to.parent.get(), to.name.c_str(), 0));
  }

  writer space(uint32_t id, reader& in) {
    auto there = find(in, 0);
    struct statvfs fs {};
    if (!there || ::fstatvfs(there.get(), &fs) < 0) return done(id, -1);
    writer out{kind::extended_reply};
    out.u32(id).u64(fs.f_bsize).u64(fs.f_frsize).u64(fs.f_blocks).u64(fs.f_bfree).u64(fs.f_bavail).u64(fs.f_files);
    out.u64(fs.f_ffree).u64(fs.f_favail).u64(fs.f_fsid).u64(fs.f_flag & ST_RDONLY ? 1 : 0).u64(fs.f_namemax);
    return out;
  }

  int socket_, root_, proc_;
  uint32_t base_, ids_;
  std::map<std::string, open_handle> handles_;
  uint64_t last_handle_ = 0;
  std::string buffer_;
};

} // namespace

outcome<void> serve_sftp(int socket, int root, int proc_self_fd, sftp_ids ids) {
  return server{socket, root, proc_self_fd, ids}.run();
}

} // namespace troupe::files
