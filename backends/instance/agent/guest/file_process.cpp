#include "backends/instance/agent/guest/file_process.hpp"

#include "backends/instance/helper/answer.hpp"
#include "backends/instance/helper/confined.hpp"
#include "backends/instance/helper/file_service.hpp"

#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

namespace troupe::guest {
namespace {

outcome<void> serve(int socket, schema::FileJob::Reader job) {
  files::opened_root root;
  root.distant = true;
  root.proc = files::open_proc_self_fd();
  root.directory = unique_fd{::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC)};
  if (!root.proc || !root.directory) return fail_errno(errno, "Cannot open the instance's root");
  return files::serve_file(socket, root, job);
}

[[noreturn]] void become_server(int socket, schema::FileJob::Reader job) {
  close_others(socket);
  reset_signals();
  ::signal(SIGPIPE, SIG_IGN);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::umask(0);
  try {
    if (auto done = serve(socket, job); !done)
      static_cast<void>(send_message(socket, files::error_answer(done.error())));
  } catch (...) {
    ::_exit(1);
  }
  ::_exit(0);
}

} // namespace

file_process::file_process(kj::UnixEventPort& port, kj::Own<child> process, unique_fd socket, ByteStream::Client output)
    : process_{kj::mv(process)}, socket_{std::make_shared<loop_fd>(port, std::move(socket))}, input_{socket_, true},
      sender_{socket_, kj::mv(output)}, sent_{sender_.run().eagerlyEvaluate(nullptr)} {}

outcome<ByteStream::Client> start_file_process(kj::UnixEventPort& port, schema::FileJob::Reader job,
                                               ByteStream::Client output) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
    return fail_errno(errno, "Cannot make a socketpair");
  unique_fd ours{ends[0]}, theirs{ends[1]};
  // Taken by the process when all is sent: one that dies before breaks the stream instead of ending it.
  if (job.isRead() && ::send(ours.get(), "?", 1, MSG_NOSIGNAL) != 1)
    return fail_errno(errno, "Cannot write to a socketpair");
  pid_t pid = ::fork();
  if (pid < 0) return fail_errno(errno, "Cannot fork");
  if (pid == 0) become_server(theirs.get(), job);
  return ByteStream::Client{kj::heap<file_process>(port, kj::heap<child>(port, pid), std::move(ours), kj::mv(output))};
}

} // namespace troupe::guest
