#include "gateway/migration/rsync_session.hpp"

#include <algorithm>
#include <csignal>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>

namespace troupe {
namespace {

constexpr size_t read_bytes = 64 << 10;
constexpr size_t complaint_max = 4096;
constexpr int above_targets = 16; // descriptors are first moved out of the way of the helper's 2 to 4
constexpr std::chrono::minutes silence_max{10};
constexpr std::chrono::seconds end_time{30}; // for the other side's end behind that of our rsync
constexpr int exit_vanished = 24;

outcome<unique_fd> moved_up(const unique_fd& fd) {
  unique_fd up{fcntl(fd.get(), F_DUPFD_CLOEXEC, above_targets)};
  if (!up) return fail_errno(errno, "Cannot start rsync");
  return up;
}

/// The helper: ends with this object.
class helper {
public:
  outcome<void> start(std::vector<std::string> words, const unique_fd& tree, const unique_fd& wire,
                      const unique_fd& complaints);
  ~helper() {
    if (pid_ < 0) return;
    kill(pid_, SIGKILL); // not reaped yet, so the number is still its own
    reap();
  }
  void end() { kill(pid_, SIGKILL); }
  /// Its exit code, or 128 and the signal's number.
  int reap() {
    int status = 0;
    while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

private:
  pid_t pid_ = -1;
};

outcome<void> helper::start(std::vector<std::string> words, const unique_fd& tree, const unique_fd& wire,
                            const unique_fd& complaints) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attributes);
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, complaints.get(), 2);
  posix_spawn_file_actions_adddup2(&actions, tree.get(), 3);
  posix_spawn_file_actions_adddup2(&actions, wire.get(), 4);
  posix_spawn_file_actions_addclosefrom_np(&actions, 5);
  std::vector<char*> argv;
  for (auto& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  char* environment[] = {nullptr};
  int failed = posix_spawn(&pid_, argv[0], &actions, &attributes, argv.data(), environment);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (failed) {
    pid_ = -1;
    return fail_errno(failed, "Cannot start " + words[0]);
  }
  return {};
}

/// Bytes between rsync's socket and the channel, both ways, until both have ended.
class joint {
public:
  joint(const rsync_session& of, int wire, int complaints, message_channel& over)
      : of_{of}, wire_{wire}, complaints_{complaints}, over_{over} {}

  outcome<void> run() {
    while (!(peer_ended_ && rsync_ended_)) {
      over_.clear();
      if (auto went = take_from_peer(); !went) return went;
      if (auto went = wait(); !went) return went;
    }
    return {};
  }
  /// The last line that rsync complained in; after its end.
  std::string complaint() {
    while (read_complaint()) {
    }
    while (!said_.empty() && said_.back() == '\n') said_.pop_back();
    auto line = said_.substr(said_.rfind('\n') + 1);
    std::replace_if(
        line.begin(), line.end(), [](unsigned char c) { return c < 0x20 || c >= 0x7f; }, '?');
    return line;
  }

private:
  outcome<void> take_from_peer() {
    while (!peer_ended_) {
      if (at_ < pending_.data.size()) {
        auto put = ::send(wire_, pending_.data.data() + at_, pending_.data.size() - at_, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0 && errno == EAGAIN) return {};
        if (put < 0) put = static_cast<ssize_t>(pending_.data.size() - at_); // rsync has ended: its exit code says how
        at_ += static_cast<size_t>(put);
        note(static_cast<size_t>(put));
        continue;
      }
      auto now = over_.take(pending_);
      at_ = 0;
      if (now == message_channel::state::closed)
        return fail(fault::backend_failed, "The other server has closed the connection");
      if (now == message_channel::state::nothing) {
        pending_ = {};
        return {};
      }
      if (!pending_.ends_part()) continue;
      pending_ = {};
      peer_ended_ = true;
      ::shutdown(wire_, SHUT_WR);
    }
    return {};
  }

  outcome<void> wait() {
    bool may_read = !rsync_ended_ && over_.has_room();
    pollfd waits[] = {
        {wire_, static_cast<short>((may_read ? POLLIN : 0) | (at_ < pending_.data.size() ? POLLOUT : 0)), 0},
        {over_.changed_fd(), POLLIN, 0},
        {silent_ ? -1 : complaints_, POLLIN, 0}};
    if (waits[0].events == 0) waits[0].fd = -1; // or its end would wake us for ever
    if (peer_ended_ && rsync_ended_) return {};
    auto patience = std::chrono::milliseconds{silence_max};
    if (rsync_ended_) patience = std::chrono::ceil<std::chrono::milliseconds>(until_ - clock::now());
    int ready = patience.count() > 0 ? ::poll(waits, 3, static_cast<int>(patience.count())) : 0;
    if (ready == 0) return fail(fault::timed_out, "The other server sends neither data nor its end");
    if (may_read && waits[0].revents & (POLLIN | POLLHUP | POLLERR)) return read_from_rsync();
    if (waits[2].revents) read_complaint();
    return {};
  }

  outcome<void> read_from_rsync() {
    std::string data(read_bytes, '\0');
    auto got = ::recv(wire_, data.data(), data.size(), MSG_DONTWAIT);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) return {};
    if (got > 0) {
      data.resize(static_cast<size_t>(got));
      note(data.size());
      if (over_.send(std::move(data))) return {};
      return fail(fault::backend_failed, "The other server has closed the connection");
    }
    rsync_ended_ = true;
    until_ = clock::now() + end_time;
    if (over_.end_part()) return {};
    return fail(fault::backend_failed, "The other server has closed the connection");
  }

  bool read_complaint() {
    char block[512];
    auto got = ::read(complaints_, block, sizeof block);
    if (got == 0) silent_ = true;
    if (got <= 0) return false;
    if (said_.size() < complaint_max) said_.append(block, static_cast<size_t>(got));
    return true;
  }

  void note(size_t bytes) {
    if (of_.moved) of_.moved(bytes);
  }

  using clock = std::chrono::steady_clock;

  const rsync_session& of_;
  const int wire_, complaints_;
  message_channel& over_;
  message_channel::message pending_{};
  size_t at_ = 0; // of pending_ that rsync has
  std::string said_;
  bool peer_ended_ = false, rsync_ended_ = false;
  clock::time_point until_; // once rsync has ended
  bool silent_ = false;     // nobody is left who could complain
};

} // namespace

outcome<void> rsync_session::run(way which, unique_fd tree, message_channel& over) const {
  int ends[2], said[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return fail_errno(errno, "Cannot start rsync");
  unique_fd ours{ends[0]}, theirs{ends[1]};
  if (pipe2(said, O_CLOEXEC | O_NONBLOCK) != 0) return fail_errno(errno, "Cannot start rsync");
  unique_fd complaints{said[0]}, complains{said[1]};
  auto up_tree = moved_up(tree), up_wire = moved_up(theirs), up_complains = moved_up(complains);
  for (auto* each : {&up_tree, &up_wire, &up_complains})
    if (!*each) return tl::unexpected{each->error()};
  std::vector<std::string> words{program, which == way::send ? "send" : "receive", std::to_string(getpid())};
  words.insert(words.end(), options.begin(), options.end());
  helper child;
  if (auto started = child.start(std::move(words), *up_tree, *up_wire, *up_complains); !started) return started;
  for (auto* each : {&*up_tree, &*up_wire, &*up_complains, &theirs, &complains, &tree}) each->reset();
  joint both{*this, ours.get(), complaints.get(), over};
  auto joined = both.run();
  if (!joined) child.end();
  auto code = child.reap();
  if (!joined) return joined;
  if (code == 0 || (code == exit_vanished && vanished_is_fine)) return {};
  auto line = both.complaint();
  return fail(fault::backend_failed,
              "rsync failed with code " + std::to_string(code) + (line.empty() ? "" : ": " + line));
}

} // namespace troupe
