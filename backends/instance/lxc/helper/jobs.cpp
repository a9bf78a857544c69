#include "backends/instance/lxc/helper/jobs.hpp"

#include "messages/config_map.hpp"

#include <cerrno>
#include <fcntl.h>
#include <functional>
#include <kj/exception.h>
#include <sys/socket.h>
#include <unistd.h>

namespace troupe::lxc {
namespace {

outcome<void> dispatch(job_context& job, schema::HelperJob::Reader request) {
  switch (request.which()) {
    case schema::HelperJob::START:
      return run_start(job, request.getStart());
    case schema::HelperJob::FIND:
      return run_find(job);
    case schema::HelperJob::AWAIT_REBOOT:
      return run_await_reboot(job);
    case schema::HelperJob::FREEZE:
      return run_freeze(job, true);
    case schema::HelperJob::UNFREEZE:
      return run_freeze(job, false);
    case schema::HelperJob::CONSOLE_LOG:
      return run_console_log(job, request.getConsoleLog());
    case schema::HelperJob::EXEC:
      return run_exec(job, request.getExec());
    case schema::HelperJob::FILE:
      return run_file(job, request.getFile());
    case schema::HelperJob::CONSOLE:
      return run_console(job, request.getConsole());
    case schema::HelperJob::PLUG:
      return run_plug(job, request.getPlug());
    case schema::HelperJob::DEVICE_RULE:
      return run_device_rule(job, request.getDeviceRule());
  }
  return fail(fault::unsupported, "The lxc helper does not know this job; daemon and helper are of different versions");
}

outcome<void> run(job_context& job, schema::HelperJob::Reader request) {
  job.key = text(request.getKey());
  job.lxcpath = text(request.getLxcpath());
  job.stage = text(request.getStage());
  // Ends a job that hangs in the kernel or on a stopped monitor; not inherited by what it forks.
  ::alarm(request.getSeconds());
  return dispatch(job, request);
}

} // namespace

outcome<container> open_container(const job_context& job) {
  container c{lxc_container_new(job.key.c_str(), job.lxcpath.c_str())};
  if (!c) return fail(fault::backend_failed, "liblxc gives no handle for " + job.key);
  c->clear_config(c.get());
  return c;
}

outcome<unique_fd> lock_key(const job_context& job, hold how) {
  unique_fd file{::open((job.lxcpath + start_locks).c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW)};
  if (!file) return fail_errno(errno, "Cannot open the lock of starts");
  // One file for all keys: each has a byte of its own, at an offset that need not exist.
  struct flock range {};
  range.l_type = how == hold::alone ? F_WRLCK : F_RDLCK;
  range.l_whence = SEEK_SET;
  range.l_start = static_cast<off_t>(std::hash<std::string>{}(job.key) >> 2);
  range.l_len = 1;
  int done = 0;
  do done = ::fcntl(file.get(), F_OFD_SETLKW, &range);
  while (done < 0 && errno == EINTR);
  if (done < 0) return fail_errno(errno, "Cannot lock the start of the instance");
  return file;
}

std::string liblxc_version() { return lxc_get_version(); }

void warm_up(const char* lxcpath) {
  container c{lxc_container_new("warm-up", lxcpath)};
  if (!c) return;
  c->clear_config(c.get());
  c->set_config_item(c.get(), "lxc.uts.name", "warm-up");
  c->init_pid(c.get());
  done_answer();
}

int run_job(int socket) {
  job_context job;
  job.socket = socket;
  // Tells the daemon that the job exists: before this byte a request can be given to another helper, after it not.
  if (::send(socket, "!", 1, MSG_NOSIGNAL) != 1) return 1;
  auto request = receive_frame(socket);
  if (!request) return 1;
  job.fds = std::move(request->fds);
  outcome<void> done;
  try {
    done = message<schema::HelperJob>::from_bytes(request->bytes).read([&](auto r) { return run(job, r); });
  } catch (const kj::Exception& e) {
    done = fail(fault::internal, std::string{"The lxc helper cannot read its request: "} + e.getDescription().cStr());
  }
  if (!done) return send_message(socket, error_answer(done.error())) ? 1 : 2;
  return 0;
}

} // namespace troupe::lxc
