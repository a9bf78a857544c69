#pragma once

#include "backends/instance/lxc/helper/jobs.hpp"
#include "backends/instance/lxc/helper/output_ring.hpp"

#include <array>
#include <optional>
#include <poll.h>

namespace troupe::lxc {

/// What a job holds of the command that it has started.
struct kept_command {
  pid_t pid = -1;
  std::string operation; // empty: it ends with its daemon
  std::string note;
  unique_fd pty;
  std::array<unique_fd, 3> ends;       // the daemon's, of the pipes
  std::array<unique_fd, 3> recordings; // files; `ends` of those are copied there
  uint64_t record = 0;                 // bytes of each
  bool attended = true;
};

/// Looks after a running command until its end was taken note of. While a daemon attends to it, that reads and writes
/// the command's ends itself, and this only waits. While none does, it reads the output and keeps the last of it, so
/// that the command never waits for somebody who is not there. A daemon that comes is a visitor on the socket; the last
/// one counts. Who removes the socket's name ends the command: nobody could find it any more.
class exec_keeper {
public:
  exec_keeper(const job_context& job, kept_command what);
  ~exec_keeper();
  exec_keeper(const exec_keeper&) = delete;

  /// Before the command is told to run, so that there is no moment at which it cannot be found.
  outcome<void> open_socket();
  outcome<void> run();

private:
  struct source {
    int fd;
    int stream;
  };
  bool turn(); // false: it is over
  void watch(int fd, short events = POLLIN) { watched_.push_back({fd, events, 0}); }
  bool ready(int fd) const;
  void obey();
  void lose_link();
  void receive_visitor();
  bool show(int visitor);
  void take_output(int stream, bool all);
  void record(int stream, std::string_view bytes);
  void command_ended();
  void tell_end();
  bool name_is_gone() const;
  int output_of(int stream) const { return stream == 1 && pty_given_ ? what_.pty.get() : what_.ends[stream].get(); }
  bool is_read_here(int stream) const;

  kept_command what_;
  std::string folder_;
  const bool pty_given_;
  unique_fd ended_, listener_, removal_;
  int link_; // the job's own socket, or the visitor's; -1: nobody is there
  unique_fd visitor_;
  std::array<output_ring, 3> rings_;
  std::array<bool, 3> hung_up_{};
  std::optional<int> status_;
  bool forgotten_ = false; // nobody will ask for the end
  bool over_ = false;
  std::vector<pollfd> watched_;
};

} // namespace troupe::lxc
