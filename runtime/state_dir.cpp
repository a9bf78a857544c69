#include "runtime/state_dir.hpp"

#include <cerrno>
#include <climits>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <memory>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

namespace troupe {
namespace {

constexpr mode_t walkable = 0711;
constexpr mode_t ours_only = 0700;

struct row {
  std::string state_dir::*path;
  const char* name;
  mode_t mode; // 0: not a directory
};

constexpr row rows[] = {
    {&state_dir::unix_socket, "unix.socket", 0},
    {&state_dir::bus_socket, "bus.socket", 0},
    {&state_dir::lock, "lock", 0},
    {&state_dir::database, "database", ours_only},
    {&state_dir::images, "images", ours_only},
    {&state_dir::spool, "spool", ours_only},
    {&state_dir::storage_pools, "storage-pools", walkable},
    {&state_dir::disks, "disks", ours_only},
    {&state_dir::networks, "networks", walkable},
    {&state_dir::lxc, "lxc", walkable},
    {&state_dir::machines, "machines", ours_only},
    {&state_dir::logs, "logs", ours_only},
    {&state_dir::sinks, "sinks", ours_only},
};

std::string id_of(const std::string& path) {
  uint64_t hash = 0xcbf29ce484222325; // FNV-1a: stable for ever, and nobody gains by a collision
  for (char c : path) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  char text[9];
  std::snprintf(text, sizeof text, "%08x", static_cast<uint32_t>(hash ^ hash >> 32));
  return text;
}

outcome<unique_fd> make_directory(const std::string& path, mode_t mode) {
  if (::mkdir(path.c_str(), mode) != 0 && errno != EEXIST)
    return fail_errno(errno, "Cannot make the directory " + path);
  unique_fd dir{::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  struct stat found {};
  if (!dir || ::fstat(dir.get(), &found) != 0) return fail_errno(errno, "Cannot open the directory " + path);
  if (found.st_uid != ::geteuid()) return fail(fault::forbidden, "The directory " + path + " belongs to another user");
  if ((found.st_mode & 07777) != mode && ::fchmod(dir.get(), mode) != 0)
    return fail_errno(errno, "Cannot set the mode of " + path);
  return dir;
}

outcome<std::string> make_top(const std::string& wanted) {
  std::error_code failed;
  auto absolute = std::filesystem::absolute(wanted, failed).lexically_normal();
  if (wanted.empty() || failed) return fail(fault::invalid, "The state directory has no name");
  if (!absolute.has_filename()) absolute = absolute.parent_path();
  std::filesystem::create_directories(absolute.parent_path(), failed);
  if (failed) return fail_errno(failed.value(), "Cannot make the directory " + absolute.parent_path().string());
  if (auto made = make_directory(absolute, walkable); !made) return tl::unexpected{made.error()};
  std::unique_ptr<char, decltype(&std::free)> real{::realpath(absolute.c_str(), nullptr), &std::free};
  if (!real) return fail_errno(errno, "Cannot resolve " + absolute.string());
  std::string path{real.get()};
  if (path.size() + sizeof "/unix.socket" > sizeof sockaddr_un::sun_path)
    return fail(fault::invalid, "The name of the state directory is too long for a socket in it: " + path);
  return path;
}

/// The owner's process id, as it wrote it: for a person only.
std::string owner_of(int lock) {
  char text[16];
  auto length = ::pread(lock, text, sizeof text, 0);
  std::string_view read{text, length > 0 ? static_cast<size_t>(length) : 0};
  read = read.substr(0, read.find_first_not_of("0123456789"));
  return read.empty() ? "" : " (process " + std::string{read} + ")";
}

outcome<unique_fd> take_lock(const state_dir& dir) {
  unique_fd lock{::open(dir.lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600)};
  if (!lock) return fail_errno(errno, "Cannot open " + dir.lock);
  struct flock whole {};
  whole.l_type = F_WRLCK;
  whole.l_whence = SEEK_SET;
  if (::fcntl(lock.get(), F_OFD_SETLK, &whole) != 0) {
    int why = errno;
    if (why == EAGAIN || why == EACCES)
      return fail(fault::busy, "Another daemon" + owner_of(lock.get()) + " uses the state directory " + dir.path);
    return fail_errno(why, "Cannot lock " + dir.lock);
  }
  auto me = std::to_string(::getpid()) + "\n";
  // A full disk must not keep the daemon from starting: the text only helps a person.
  if (::ftruncate(lock.get(), 0) == 0) static_cast<void>(!::pwrite(lock.get(), me.data(), me.size(), 0));
  return lock;
}

} // namespace

outcome<state_dir> prepare_state_dir(const std::string& path) {
  auto top = make_top(path);
  if (!top) return tl::unexpected{top.error()};
  state_dir made;
  made.path = *top;
  made.id = id_of(*top);
  for (auto& r : rows) made.*r.path = *top + "/" + r.name;
  auto lock = take_lock(made); // before anything below is touched
  if (!lock) return tl::unexpected{lock.error()};
  made.held = std::move(*lock);
  for (auto& r : rows)
    if (r.mode != 0)
      if (auto dir = make_directory(made.*r.path, r.mode); !dir) return tl::unexpected{dir.error()};
  return made;
}

} // namespace troupe
