#include "gateway/instance_logs.hpp"

#include "actors/records.hpp"

#include <algorithm>
#include <fcntl.h>
#include <filesystem>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

namespace troupe {
namespace {

outcome<void> check_log_name(const std::string& name) {
  if (name.empty() || name.find('/') != name.npos || name.starts_with('.') || name.find('\0') != name.npos)
    return fail(fault::invalid, "Not a log file's name");
  return {};
}

} // namespace

instance_logs::instance_logs(const services& with, const std::string& project, const std::string& name)
    : root_{with.dir.logs + "/" + instance_key(project, name)} {}

std::string instance_logs::folder(kind which) const { return which == kind::log ? root_ : root_ + "/exec-output"; }

outcome<std::vector<std::string>> instance_logs::list(kind which) const {
  std::vector<std::string> names;
  std::error_code none;
  for (auto& entry : std::filesystem::directory_iterator{folder(which), none})
    if (entry.is_regular_file(none)) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

outcome<instance_logs::file> instance_logs::open(kind which, const std::string& name) const {
  if (auto good = check_log_name(name); !good) return tl::unexpected{good.error()};
  file out;
  out.content.reset(::open((folder(which) + "/" + name).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  struct stat info {};
  if (!out.content || ::fstat(out.content.get(), &info) != 0 || !S_ISREG(info.st_mode))
    return fail(fault::not_found, "Log file not found");
  out.size = static_cast<uint64_t>(info.st_size);
  return out;
}

outcome<void> instance_logs::remove(kind which, const std::string& name) const {
  if (auto good = check_log_name(name); !good) return good;
  if (which == kind::log && (name == "lxc.log" || name == "lxc.conf"))
    return fail(fault::invalid, "The file " + name + " belongs to the running instance and cannot be deleted");
  if (::unlink((folder(which) + "/" + name).c_str()) == 0) return {};
  if (errno == ENOENT || errno == EISDIR) return fail(fault::not_found, "Log file not found");
  return fail_errno(errno, "Cannot delete the log file " + name);
}

namespace {

constexpr uint64_t recordings_bytes_max = 1 << 30; // of an instance: they lie on the disk that the daemon needs itself
constexpr size_t recordings_max = 1000;

struct recording {
  std::filesystem::path path;
  timespec made;
  uint64_t bytes;
};

/// Makes room for one more. Who records holds a lock on its file.
outcome<void> make_room(const std::string& folder) {
  std::vector<recording> complete;
  uint64_t bytes = instance_logs::recording_bytes_max;
  std::error_code none;
  for (auto& entry : std::filesystem::directory_iterator{folder, none}) {
    unique_fd file{::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)};
    struct stat info {};
    if (!file || ::fstat(file.get(), &info) != 0 || !S_ISREG(info.st_mode)) continue;
    bool grows = ::flock(file.get(), LOCK_EX | LOCK_NB) != 0;
    if (!grows) complete.push_back({entry.path(), info.st_mtim, static_cast<uint64_t>(info.st_size)});
    bytes += grows ? instance_logs::recording_bytes_max : static_cast<uint64_t>(info.st_size);
  }
  std::sort(complete.begin(), complete.end(), [](auto& a, auto& b) {
    return std::pair{a.made.tv_sec, a.made.tv_nsec} > std::pair{b.made.tv_sec, b.made.tv_nsec};
  });
  while (!complete.empty() && (bytes > recordings_bytes_max || complete.size() >= recordings_max)) {
    ::unlink(complete.back().path.c_str());
    bytes -= complete.back().bytes;
    complete.pop_back();
  }
  if (bytes > recordings_bytes_max) return fail(fault::busy, "Too many commands of this instance are being recorded");
  return {};
}

} // namespace

outcome<unique_fd> instance_logs::record(const std::string& name) const {
  for (auto& dir : {root_, folder(kind::exec_output)})
    if (::mkdir(dir.c_str(), 0700) != 0 && errno != EEXIST) return fail_errno(errno, "Cannot make " + dir);
  if (auto room = make_room(folder(kind::exec_output)); !room) return tl::unexpected{room.error()};
  unique_fd made{::open((folder(kind::exec_output) + "/" + name).c_str(),
                        O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600)};
  if (!made || ::flock(made.get(), LOCK_EX | LOCK_NB) != 0)
    return fail_errno(errno, "Cannot make the recording " + name);
  return made;
}

} // namespace troupe
