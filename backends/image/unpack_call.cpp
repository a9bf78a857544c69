#include "backends/image/unpack_call.hpp"

#include "backends/image/unpack_rules.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

namespace troupe {
namespace {

constexpr size_t heard_max = 4 << 20; // bytes the helper may say in all
constexpr size_t line_max = 4096;
constexpr size_t complaint_max = 1024;
constexpr int above_targets = 16; // descriptors are first moved out of the way of the helper's 1 to 5

outcome<unique_fd> moved_up(int fd) {
  unique_fd up{fcntl(fd, F_DUPFD_CLOEXEC, above_targets)};
  if (!up) return fail_errno(errno, "Cannot start the image unpacker");
  return up;
}

/// A second, read-only opening: the helper must not be able to change what was hashed.
outcome<unique_fd> read_only(int fd) {
  unique_fd again{open(("/proc/self/fd/" + std::to_string(fd)).c_str(), O_RDONLY | O_CLOEXEC)};
  if (!again) return fail_errno(errno, "Cannot open the image for reading");
  return moved_up(again.get());
}

struct two_ends {
  unique_fd ours, theirs;
};

outcome<two_ends> make_pipe() {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0) return fail_errno(errno, "Cannot start the image unpacker");
  two_ends out{unique_fd{fds[0]}, unique_fd{fds[1]}};
  auto up = moved_up(out.theirs.get());
  if (!up) return tl::unexpected{up.error()};
  out.theirs = std::move(*up);
  return out;
}

/// posix_spawn wants C arrays and explicit clean-up.
class launch {
public:
  launch() {
    posix_spawn_file_actions_init(&actions_);
    posix_spawnattr_init(&attributes_);
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attributes_, &none);
    posix_spawnattr_setsigdefault(&attributes_, &all);
    posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
    posix_spawn_file_actions_addopen(&actions_, 0, "/dev/null", O_RDONLY, 0);
  }
  launch(const launch&) = delete;
  ~launch() {
    posix_spawn_file_actions_destroy(&actions_);
    posix_spawnattr_destroy(&attributes_);
  }
  void give(const unique_fd& ours, int theirs) { posix_spawn_file_actions_adddup2(&actions_, ours.get(), theirs); }
  outcome<pid_t> run(std::vector<std::string> words) {
    posix_spawn_file_actions_addclosefrom_np(&actions_, 6);
    std::vector<char*> argv;
    for (auto& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    char* environment[] = {nullptr};
    pid_t pid = -1;
    if (int e = posix_spawn(&pid, argv[0], &actions_, &attributes_, argv.data(), environment); e != 0)
      return fail(fault::backend_failed, "Cannot start " + words[0] + ": " + std::strerror(e));
    return pid;
  }

private:
  posix_spawn_file_actions_t actions_;
  posix_spawnattr_t attributes_;
};

template <class Number>
bool take_number(std::string_view& text, Number& out) {
  auto [end, e] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (e != std::errc{}) return false;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  if (text.starts_with(' ')) text.remove_prefix(1);
  return true;
}

tl::unexpected<error> nonsense() { return fail(fault::backend_failed, "The image unpacker answers nonsense"); }

} // namespace

outcome<unpack_call> unpack_call::start(const std::string& program, const std::vector<int>& archives, int target) {
  launch child;
  auto report = make_pipe(), complaints = make_pipe();
  if (!report) return tl::unexpected{report.error()};
  if (!complaints) return tl::unexpected{complaints.error()};
  child.give(report->theirs, 1);
  child.give(complaints->theirs, 2);
  std::vector<unique_fd> given;
  for (size_t i = 0; i < archives.size() + (target >= 0); ++i) {
    auto fd = i < archives.size() ? read_only(archives[i]) : moved_up(target);
    if (!fd) return tl::unexpected{fd.error()};
    child.give(*fd, i < archives.size() ? 3 + static_cast<int>(i) : 5);
    given.push_back(std::move(*fd));
  }
  auto pid = child.run({program, target >= 0 ? "unpack" : "check", archives.size() > 1 ? "split" : "unified",
                        std::to_string(getpid()), std::to_string(unpack_limits{}.bytes_max)});
  if (!pid) return tl::unexpected{pid.error()};
  unpack_call out;
  out.pid_ = *pid;
  out.report_ = std::move(report->ours);
  out.complaints_ = std::move(complaints->ours);
  return out;
}

unpack_call::unpack_call(unpack_call&& other) noexcept
    : pid_{std::exchange(other.pid_, -1)}, report_{std::move(other.report_)}, complaints_{
                                                                                  std::move(other.complaints_)} {}

unpack_call::~unpack_call() {
  if (pid_ < 0) return;
  kill(pid_, SIGKILL); // not reaped yet, so the number is still his
  reap();
}

int unpack_call::reap() noexcept {
  int status = 0;
  pid_t got;
  do got = waitpid(pid_, &status, 0);
  while (got < 0 && errno == EINTR);
  pid_ = -1;
  return got < 0 ? -1 : status;
}

outcome<unpack_call::findings> unpack_call::wait(const progress_sink& progress, const cancel_token* stop) {
  auto heard = listen(progress, stop);
  if (!heard) kill(pid_, SIGKILL);
  const int status = reap();
  if (!heard) return tl::unexpected{heard.error()};
  if (refusal_) return tl::unexpected{*refusal_};
  if (done_ && status == 0) return std::move(findings_);
  // A parser that crashes or runs out of time does so because of what it read; SIGKILL comes from the system.
  if (status > 0 && WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL && WTERMSIG(status) != SIGTERM)
    return fail(fault::invalid,
                "The image cannot be read: unpacking it ended with signal " + std::to_string(WTERMSIG(status)));
  auto why = complaint_.substr(0, complaint_.find('\n'));
  return fail(fault::backend_failed, "The image unpacker ended early" + (why.empty() ? "" : ": " + why));
}

outcome<void> unpack_call::listen(const progress_sink& progress, const cancel_token* stop) {
  bool reporting = true, complaining = true;
  while (reporting || complaining) {
    std::array<pollfd, 3> fds{pollfd{reporting ? report_.get() : -1, POLLIN, 0},
                              pollfd{complaining ? complaints_.get() : -1, POLLIN, 0},
                              pollfd{stop ? stop->fd() : -1, POLLIN, 0}};
    if (poll(fds.data(), fds.size(), -1) < 0 && errno != EINTR)
      return fail_errno(errno, "Cannot hear the image unpacker");
    if (stop && stop->cancelled()) return fail(fault::cancelled, "Reading the image was cancelled");
    if (fds[0].revents != 0) {
      auto more = take_report(progress);
      if (!more) return tl::unexpected{more.error()};
      reporting = *more;
    }
    if (fds[1].revents != 0) {
      char text[512];
      auto n = read(complaints_.get(), text, sizeof text);
      complaining = n > 0;
      if (n > 0 && complaint_.size() < complaint_max) complaint_.append(text, static_cast<size_t>(n));
    }
  }
  return {};
}

outcome<bool> unpack_call::take_report(const progress_sink& progress) {
  char block[16384];
  auto n = read(report_.get(), block, sizeof block);
  if (n < 0 && errno == EINTR) return true;
  if (n <= 0) return false;
  if ((heard_ += static_cast<size_t>(n)) > heard_max) return nonsense();
  pending_.append(block, static_cast<size_t>(n));
  std::string_view rest{pending_};
  while (!rest.empty()) {
    if (metadata_left_ > 0) {
      auto part = rest.substr(0, metadata_left_);
      findings_.metadata += part;
      metadata_left_ -= part.size();
      rest.remove_prefix(part.size());
      continue;
    }
    auto end = rest.find('\n');
    if (end == rest.npos) break;
    if (auto ok = obey(rest.substr(0, end), progress); !ok) return tl::unexpected{ok.error()};
    rest.remove_prefix(end + 1);
  }
  if (rest.size() > line_max) return nonsense();
  pending_ = std::string{rest};
  return true;
}

outcome<void> unpack_call::obey(std::string_view line, const progress_sink& progress) {
  if (line == "d") return done_ = true, outcome<void>{};
  if (line.size() < 2 || line[1] != ' ') return nonsense();
  auto rest = line.substr(2);
  uint64_t first = 0, second = 0;
  switch (line[0]) {
    case 'p':
      if (!take_number(rest, first) || !take_number(rest, second)) return nonsense();
      if (progress) progress(std::min(first, second), second);
      return {};
    case 'k':
      findings_.virtual_machine = rest == "vm";
      return {};
    case 'm':
      if (!take_number(rest, first) || first > metadata_size_max) return nonsense();
      findings_.metadata.clear();
      metadata_left_ = first;
      return {};
    case 'e': {
      if (!take_number(rest, first) || first < 1 || first > static_cast<uint64_t>(fault::internal)) return nonsense();
      std::string sentence{rest};
      std::replace_if(
          sentence.begin(), sentence.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }, '?');
      refusal_ = error{static_cast<fault>(first), std::move(sentence)};
      return {};
    }
    default:
      return nonsense();
  }
}

} // namespace troupe
