#include "backends/storage/btrfs_send.hpp"

#include "backends/storage/btrfs_subvolumes.hpp"
#include "backends/storage/pool_layout.hpp"
#include "backends/storage/root_disk.hpp"
#include "backends/storage/run_program.hpp"

#include <btrfsutil.h>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace troupe {

namespace {

outcome<void> check_whole(const std::string& path) {
  if (is_machine_volume(path)) return fail(fault::unsupported, "Virtual machines cannot be sent as streams yet");
  auto volume = open_directory(path);
  if (!volume) return tl::unexpected{volume.error()};
  if (!has_nested_subvolumes(volume->get())) return {};
  return fail(fault::unsupported, "The instance has made subvolumes of its own, which a stream cannot hold");
}

} // namespace

outcome<void> send_subvolume(const std::string& path, const std::string& parent, const unique_fd& into) {
  if (auto whole = check_whole(path); !whole) return whole;
  std::vector<std::string> words{"btrfs", "send", "-q"};
  if (!parent.empty()) words.insert(words.end(), {"-p", parent});
  words.insert(words.end(), {"-f", "/proc/self/fd/3", path}); // where run_program puts what is kept open
  auto done = run_program(std::move(words), into.get());
  return done ? outcome<void>{} : tl::unexpected{done.error()};
}

sending_subvolume::sending_subvolume(sending_subvolume&& other) noexcept
    : pid_{std::exchange(other.pid_, -1)}, output_{std::move(other.output_)}, complaints_{
                                                                                  std::move(other.complaints_)} {}

sending_subvolume::~sending_subvolume() {
  if (pid_ < 0) return;
  kill(pid_, SIGKILL); // not reaped yet, so the number is still its own
  while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

outcome<sending_subvolume> sending_subvolume::begin(const std::string& path, const std::string& parent) {
  if (auto whole = check_whole(path); !whole) return tl::unexpected{whole.error()};
  std::vector<std::string> words{"btrfs", "send", "-q"};
  if (!parent.empty()) words.insert(words.end(), {"-p", parent});
  words.push_back(path);
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return fail_errno(errno, "Cannot start btrfs send");
  sending_subvolume out;
  out.output_.reset(ends[0]);
  unique_fd theirs{ends[1]};
  out.complaints_.reset(memfd_create("err", MFD_CLOEXEC));
  if (!out.complaints_) return fail_errno(errno, "Cannot start btrfs send");
  auto pid = start_program(std::move(words), theirs.get(), out.complaints_.get());
  if (!pid) return tl::unexpected{pid.error()};
  out.pid_ = *pid;
  return out;
}

outcome<void> sending_subvolume::finish() {
  int status = 0;
  while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  return fail(fault::backend_failed, "btrfs send failed: " + last_complaint(complaints_));
}

outcome<std::string> subvolume_uuid(const std::string& path) {
  struct btrfs_util_subvolume_info info {};
  auto code = btrfs_util_subvolume_info(path.c_str(), 0, &info);
  if (code != BTRFS_UTIL_OK)
    return fail(fault::backend_failed, "Cannot look at " + path + ": " + btrfs_util_strerror(code));
  std::string out;
  for (size_t i = 0; i < sizeof info.uuid; ++i) {
    char digits[3];
    std::snprintf(digits, sizeof digits, "%02x", static_cast<unsigned>(info.uuid[i]));
    if (i == 4 || i == 6 || i == 8 || i == 10) out += '-';
    out += digits;
  }
  return out;
}

} // namespace troupe
