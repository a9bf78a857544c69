#include "backends/image/helper_call.hpp"

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
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

namespace troupe {
namespace {

constexpr size_t heard_max = 4 << 20; // bytes the helper may say in all
constexpr size_t line_max = 4096;
constexpr size_t complaint_max = 1024;
constexpr int above_targets = 16;      // descriptors are first moved out of the way of the helper's, so many above them
constexpr size_t block_size = 1 << 20; // of the output

outcome<unique_fd> moved_up(int fd, int above) {
  unique_fd up{fcntl(fd, F_DUPFD_CLOEXEC, above + above_targets)};
  if (!up) return fail_errno(errno, "Cannot start a helper");
  return up;
}

struct two_ends {
  unique_fd ours, theirs;
};

outcome<two_ends> make_pipe() {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0) return fail_errno(errno, "Cannot start a helper");
  two_ends out{unique_fd{fds[0]}, unique_fd{fds[1]}};
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
  void give(const unique_fd& ours, int theirs) {
    posix_spawn_file_actions_adddup2(&actions_, ours.get(), theirs);
    above_ = std::max(above_, theirs + 1);
  }
  outcome<pid_t> run(std::vector<std::string> words) {
    posix_spawn_file_actions_addclosefrom_np(&actions_, above_);
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
  int above_ = 3;
};

std::string printable(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }, '?');
  return text;
}

template <class Number>
bool take_number(std::string_view& text, Number& out) {
  auto [end, e] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (e != std::errc{}) return false;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  if (text.starts_with(' ')) text.remove_prefix(1);
  return true;
}

} // namespace

outcome<helper_call::given> read_only_as(int fd, int theirs) {
  unique_fd again{open(("/proc/self/fd/" + std::to_string(fd)).c_str(), O_RDONLY | O_CLOEXEC)};
  if (!again) return fail_errno(errno, "Cannot open the archive for reading");
  return helper_call::given{std::move(again), theirs};
}

outcome<helper_call::given> same_as(int fd, int theirs) {
  unique_fd again{fcntl(fd, F_DUPFD_CLOEXEC, 0)};
  if (!again) return fail_errno(errno, "Cannot start a helper");
  return helper_call::given{std::move(again), theirs};
}

outcome<helper_call> helper_call::start(order what) {
  int highest = 2;
  for (auto& each : what.descriptors) highest = std::max(highest, each.theirs);
  launch child;
  auto report = make_pipe(), complaints = make_pipe();
  if (!report) return tl::unexpected{report.error()};
  if (!complaints) return tl::unexpected{complaints.error()};
  what.descriptors.push_back({std::move(report->theirs), 1});
  what.descriptors.push_back({std::move(complaints->theirs), 2});
  for (auto& each : what.descriptors) { // none may lie where another one goes
    auto up = moved_up(each.ours.get(), highest);
    if (!up) return tl::unexpected{up.error()};
    each.ours = std::move(*up);
    child.give(each.ours, each.theirs);
  }
  auto pid = child.run(std::move(what.words));
  if (!pid) return tl::unexpected{pid.error()};
  helper_call out;
  out.noun_ = std::move(what.noun);
  out.pid_ = *pid;
  out.report_ = std::move(report->ours);
  out.complaints_ = std::move(complaints->ours);
  out.output_ = std::move(what.output);
  out.take_ = std::move(what.take);
  out.input_ = std::move(what.input);
  out.status_tells_ = what.status_tells;
  return out;
}

outcome<helper_call> start_unpacker(const std::string& program, const std::vector<int>& archives, int target) {
  helper_call::order what;
  what.noun = "image unpacker";
  what.words = {program, target >= 0 ? "unpack" : "check", archives.size() > 1 ? "split" : "unified",
                std::to_string(getpid()), std::to_string(unpack_limits{}.bytes_max)};
  for (size_t i = 0; i < archives.size() + (target >= 0); ++i) {
    auto fd = i < archives.size() ? read_only_as(archives[i], 3 + static_cast<int>(i)) : same_as(target, 5);
    if (!fd) return tl::unexpected{fd.error()};
    what.descriptors.push_back(std::move(*fd));
  }
  return helper_call::start(std::move(what));
}

helper_call::helper_call(helper_call&& other) noexcept
    : noun_{std::move(other.noun_)}, pid_{std::exchange(other.pid_, -1)}, report_{std::move(other.report_)},
      complaints_{std::move(other.complaints_)}, output_{std::move(other.output_)}, take_{std::move(other.take_)},
      input_{std::move(other.input_)}, status_tells_{other.status_tells_} {}

helper_call::~helper_call() {
  if (pid_ < 0) return;
  kill(pid_, SIGKILL); // not reaped yet, so the number is still his
  reap();
}

int helper_call::reap() noexcept {
  int status = 0;
  pid_t got;
  do got = waitpid(pid_, &status, 0);
  while (got < 0 && errno == EINTR);
  pid_ = -1;
  return got < 0 ? -1 : status;
}

outcome<helper_call::findings> helper_call::wait(const progress_sink& progress, const cancel_token* stop) {
  auto heard = listen(progress, stop);
  if (!heard) kill(pid_, SIGKILL);
  const int status = reap();
  if (!heard) return tl::unexpected{heard.error()};
  if (refusal_) return tl::unexpected{*refusal_};
  if ((done_ || status_tells_) && status == 0) return std::move(findings_);
  // A parser that crashes or runs out of time does so because of what it read; SIGKILL comes from the system.
  if (status > 0 && WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL && WTERMSIG(status) != SIGTERM)
    return fail(fault::invalid, "What was given cannot be read: the " + noun_ + " ended with signal " +
                                    std::to_string(WTERMSIG(status)));
  auto why = complaint();
  return fail(fault::backend_failed, "The " + noun_ + " ended early" + (why.empty() ? "" : ": " + why));
}

/// Of a helper's libraries the first line counts, of another program the last.
std::string helper_call::complaint() const {
  std::string_view all{complaint_};
  while (all.ends_with('\n')) all.remove_suffix(1);
  return printable(std::string{status_tells_ ? all.substr(all.rfind('\n') + 1) : all.substr(0, all.find('\n'))});
}

outcome<void> helper_call::listen(const progress_sink& progress, const cancel_token* stop) {
  bool reporting = true, complaining = true, filling = static_cast<bool>(output_);
  while (reporting || complaining || filling) {
    if (input_)
      if (auto fed = feed_more(); !fed) return fed;
    bool stuck = input_ && fed_to_ < fed_.size();
    std::array<pollfd, 6> fds{pollfd{reporting ? report_.get() : -1, POLLIN, 0},
                              pollfd{complaining ? complaints_.get() : -1, POLLIN, 0},
                              pollfd{stop ? stop->fd() : -1, POLLIN, 0},
                              pollfd{filling ? output_.get() : -1, POLLIN, 0},
                              pollfd{stuck ? input_->into.get() : -1, POLLOUT, 0},
                              pollfd{input_ && !stuck ? input_->changed : -1, POLLIN, 0}};
    int patience = input_ ? static_cast<int>(input_->patience.count()) : -1;
    int ready = poll(fds.data(), fds.size(), patience);
    if (ready < 0 && errno != EINTR) return fail_errno(errno, "Cannot hear the " + noun_);
    if (ready == 0) return fail(fault::timed_out, "Nothing more comes for the " + noun_);
    if (stop && stop->cancelled()) return fail(fault::cancelled, "The operation was cancelled");
    if (fds[0].revents != 0) {
      auto more = take_report(progress);
      if (!more) return tl::unexpected{more.error()};
      reporting = *more;
    }
    if (fds[3].revents != 0) {
      auto more = take_output();
      if (!more) return tl::unexpected{more.error()};
      filling = *more;
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

outcome<bool> helper_call::take_output() {
  block_.resize(block_size);
  auto n = read(output_.get(), block_.data(), block_.size());
  if (n < 0 && errno == EINTR) return true;
  if (n < 0) return fail_errno(errno, "Cannot read from the " + noun_);
  if (n == 0) return false;
  if (auto taken = take_({block_.data(), static_cast<size_t>(n)}); !taken) return tl::unexpected{taken.error()};
  return true;
}

// As much as goes without waiting.
outcome<void> helper_call::feed_more() {
  for (;;) {
    if (fed_to_ == fed_.size()) {
      auto more = input_->next();
      if (!more) return tl::unexpected{more.error()};
      if (!*more) return {};
      if ((*more)->empty()) return input_.reset(), outcome<void>{}; // its descriptor with it: the end
      fed_ = std::move(**more);
      fed_to_ = 0;
    }
    auto put = send(input_->into.get(), fed_.data() + fed_to_, fed_.size() - fed_to_, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0 && errno == EAGAIN) return {};
    if (put < 0) return input_.reset(), outcome<void>{}; // it has ended: its report says why
    fed_to_ += static_cast<size_t>(put);
  }
}

tl::unexpected<error> helper_call::nonsense() const {
  return fail(fault::backend_failed, "The " + noun_ + " answers nonsense");
}

outcome<bool> helper_call::take_report(const progress_sink& progress) {
  char block[16384];
  auto n = read(report_.get(), block, sizeof block);
  if (n < 0 && errno == EINTR) return true;
  if (n <= 0) return false;
  if ((heard_ += static_cast<size_t>(n)) > heard_max) return nonsense();
  pending_.append(block, static_cast<size_t>(n));
  std::string_view rest{pending_};
  while (!rest.empty()) {
    if (text_left_ > 0) {
      auto part = rest.substr(0, text_left_);
      findings_.text += part;
      text_left_ -= part.size();
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

outcome<void> helper_call::obey(std::string_view line, const progress_sink& progress) {
  if (line == "d") return done_ = true, outcome<void>{};
  if (line.size() < 2 || line[1] != ' ') return nonsense();
  auto rest = line.substr(2);
  uint64_t first = 0, second = 0;
  switch (line[0]) {
    case 'p':
      if (!take_number(rest, first) || !take_number(rest, second)) return nonsense();
      if (progress) progress(second ? std::min(first, second) : first, second);
      return {};
    case 'k':
      findings_.virtual_machine = rest == "vm";
      return {};
    case 'v':
      return take_number(rest, findings_.disk_size) ? outcome<void>{} : nonsense();
    case 'm':
      if (!take_number(rest, first) || first > metadata_size_max) return nonsense();
      findings_.text.clear();
      text_left_ = first;
      return {};
    case 'e': {
      if (!take_number(rest, first) || first < 1 || first > static_cast<uint64_t>(fault::internal)) return nonsense();
      refusal_ = error{static_cast<fault>(first), printable(std::string{rest})};
      return {};
    }
    default:
      return nonsense();
  }
}

} // namespace troupe
