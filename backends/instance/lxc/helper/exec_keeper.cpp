#include "backends/instance/lxc/helper/exec_keeper.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

namespace troupe::lxc {
namespace {

constexpr int visitors_waiting = 4;
constexpr timeval visitor_patience{5, 0};
constexpr size_t read_bytes = 64 << 10;
constexpr int reads_per_turn = 16;         // then who wants something is heard
constexpr size_t last_bytes_max = 4 << 20; // read behind the command's end: what it left running may go on writing
constexpr std::array<int, 2> outputs{1, 2};

void make_nonblocking(int fd) {
  if (fd >= 0) ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
}

capnp::Data::Reader as_data(std::string_view bytes) {
  return {reinterpret_cast<const kj::byte*>(bytes.data()), bytes.size()};
}

} // namespace

exec_keeper::exec_keeper(const job_context& job, kept_command what)
    : what_{std::move(what)}, folder_{job.lxcpath + exec_sockets}, pty_given_{static_cast<bool>(what_.pty)},
      ended_{static_cast<int>(::syscall(SYS_pidfd_open, what_.pid, 0))}, link_{job.socket} {}

exec_keeper::~exec_keeper() {
  if (listener_) ::unlink((folder_ + "/" + what_.operation).c_str());
}

/// By way of its folder: a socket's whole path may be longer than the kernel takes.
outcome<void> exec_keeper::open_socket() {
  if (what_.operation.empty()) return {};
  unique_fd folder{::open(folder_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
  if (!folder) return fail_errno(errno, "Cannot open the folder of commands");
  auto path = "/proc/self/fd/" + std::to_string(folder.get()) + "/" + what_.operation;
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  if (what_.operation.find('/') != std::string::npos || path.size() >= sizeof name.sun_path)
    return fail(fault::internal, "A command cannot have this name");
  path.copy(name.sun_path, path.size());
  unique_fd made{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  if (!made || ::bind(made.get(), reinterpret_cast<sockaddr*>(&name), sizeof name) < 0 ||
      ::listen(made.get(), visitors_waiting) < 0)
    return fail_errno(errno, "Cannot make the command's socket");
  listener_ = std::move(made);
  return {};
}

outcome<void> exec_keeper::run() {
  if (!ended_) return fail_errno(errno, "Cannot watch the command");
  if (!what_.attended || what_.record > 0)
    for (int stream : outputs) make_nonblocking(output_of(stream));
  while (turn()) {
  }
  if (!status_) ::kill(what_.pid, SIGKILL); // our child and not reaped: cannot be another process
  return {};
}

bool exec_keeper::is_read_here(int stream) const {
  if (hung_up_[stream] || output_of(stream) < 0 || status_) return false;
  return what_.recordings[stream] || !what_.attended;
}

bool exec_keeper::ready(int fd) const {
  if (fd < 0) return false;
  auto at = std::find_if(watched_.begin(), watched_.end(), [&](auto& each) { return each.fd == fd; });
  return at != watched_.end() && at->revents != 0;
}

bool exec_keeper::turn() {
  watched_.clear();
  watch(status_ ? -1 : ended_.get());
  watch(link_);
  watch(listener_.get());
  watch(removal_.get());
  for (int stream : outputs) watch(is_read_here(stream) ? output_of(stream) : -1);
  if (::poll(watched_.data(), watched_.size(), -1) < 0) return errno == EINTR;
  for (int stream : outputs)
    if (is_read_here(stream) && ready(output_of(stream))) take_output(stream, false);
  if (!status_ && ready(ended_.get())) command_ended();
  if (ready(link_)) obey(); // the old daemon's end comes before the new one
  if (!over_ && ready(listener_.get())) receive_visitor();
  if (ready(removal_.get()) && name_is_gone()) return false;
  return !over_;
}

void exec_keeper::obey() {
  auto request = receive_frame(link_);
  if (!request) return lose_link();
  message<schema::HelperSignal>::from_bytes(request->bytes).read([&](schema::HelperSignal::Reader r) {
    for (int stream = 0; stream < 3; ++stream)
      if (r.getClose() & (1 << stream)) what_.ends[stream].reset();
    if (r.getNumber() > 0 && !status_) ::kill(what_.pid, r.getNumber());
    if (!r.getForget()) return;
    forgotten_ = true;
    over_ = status_.has_value();
  });
}

/// From here on nobody reads the output but us; or there is no reason to go on.
void exec_keeper::lose_link() {
  link_ = -1;
  visitor_.reset();
  what_.attended = false;
  if (!listener_) {
    if (!status_) ::kill(what_.pid, SIGKILL);
    over_ = status_.has_value();
    return;
  }
  for (int stream : outputs) make_nonblocking(output_of(stream));
  if (removal_) return;
  removal_.reset(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  ::inotify_add_watch(removal_.get(), (folder_ + "/" + what_.operation).c_str(), IN_ATTRIB);
  if (name_is_gone()) over_ = true; // before there was anybody to see it
}

bool exec_keeper::name_is_gone() const {
  struct stat info {};
  return ::lstat((folder_ + "/" + what_.operation).c_str(), &info) < 0 && errno == ENOENT;
}

/// What a visitor says is short, and only root can be one.
void exec_keeper::receive_visitor() {
  unique_fd visitor{::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC)};
  if (!visitor) return;
  for (int which : {SO_RCVTIMEO, SO_SNDTIMEO})
    ::setsockopt(visitor.get(), SOL_SOCKET, which, &visitor_patience, sizeof visitor_patience);
  auto request = receive_frame(visitor.get());
  if (!request) return;
  bool attend = message<schema::ExecVisit>::from_bytes(request->bytes).read([](schema::ExecVisit::Reader v) {
    return v.getAttend();
  });
  if (!what_.attended)
    for (int stream : outputs)
      if (is_read_here(stream)) take_output(stream, false);
  if (!show(visitor.get())) return;
  if (attend)
    for (auto& ring : rings_) ring.clear();
  what_.attended = attend;
  if (!attend)
    for (int stream : outputs) make_nonblocking(output_of(stream));
  visitor_ = std::move(visitor);
  link_ = visitor_.get();
  if (status_) tell_end();
}

bool exec_keeper::show(int visitor) {
  std::vector<int> fds;
  if (what_.pty) fds.push_back(what_.pty.get());
  uint8_t ends = 0;
  for (int stream = 0; stream < 3; ++stream) {
    if (!what_.ends[stream] || what_.recordings[stream]) continue;
    ends = static_cast<uint8_t>(ends | 1 << stream);
    fds.push_back(what_.ends[stream].get());
  }
  auto kept = answer::make([&](schema::HelperAnswer::Builder a) {
    auto k = a.initKept();
    k.setNote(as_data(what_.note));
    k.setEnds(ends);
    k.setOutput(as_data(rings_[1].get()));
    k.setError(as_data(rings_[2].get()));
    k.setLost(rings_[1].lost() + rings_[2].lost());
  });
  return send_message(visitor, kept, fds).has_value();
}

/// `all`: behind the command's end, what it has left.
void exec_keeper::take_output(int stream, bool all) {
  static std::array<char, read_bytes> buffer;
  size_t taken = 0;
  for (int reads = 0; all ? taken < last_bytes_max : reads < reads_per_turn; ++reads) {
    auto got = ::read(output_of(stream), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) { // a terminal without the other end says EIO
      hung_up_[stream] = true;
      return;
    }
    taken += static_cast<size_t>(got);
    record(stream, {buffer.data(), static_cast<size_t>(got)});
  }
}

/// Beyond its bound a recording takes no more: a command must not fill the host's disk. Neither a full one stops it.
void exec_keeper::record(int stream, std::string_view bytes) {
  auto& file = what_.recordings[stream];
  if (!file) return rings_[stream].put(bytes);
  struct stat info {};
  if (::fstat(file.get(), &info) < 0) return;
  auto room = what_.record - std::min<uint64_t>(what_.record, static_cast<uint64_t>(info.st_size));
  bytes = bytes.substr(0, room);
  if (!bytes.empty() && ::write(file.get(), bytes.data(), bytes.size()) < 0) what_.record = 0;
}

void exec_keeper::command_ended() {
  for (int stream : outputs)
    if (is_read_here(stream)) take_output(stream, true);
  int status = 0;
  while (::waitpid(what_.pid, &status, 0) < 0 && errno == EINTR) {
  }
  status_ = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  for (auto& file : what_.recordings) file.reset(); // complete
  tell_end();
  if (!listener_ || forgotten_) over_ = true;
}

void exec_keeper::tell_end() {
  if (link_ < 0) return;
  send_message(link_, answer::make([&](schema::HelperAnswer::Builder a) { a.setEnded(*status_); }));
}

} // namespace troupe::lxc
