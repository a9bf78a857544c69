#include "backends/instance/helper/confined.hpp"
#include "backends/instance/helper/file_service.hpp"
#include "backends/instance/lxc/helper/jobs.hpp"
#include "backends/instance/lxc/helper/leader.hpp"
#include "backends/instance/lxc/helper/root_view.hpp"

#include <cerrno>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <unistd.h>

namespace troupe::lxc {
namespace {

outcome<opened_root> enter_running(schema::FileJob::Reader request) {
  pid_t leader = request.getLeader();
  bool mapped = request.getRoot().getIdCount() > 0;
  opened_root result;
  result.proc = open_proc_self_fd();
  result.ids = request.getRoot().getIdCount();
  auto pidfd = open_leader(leader, request.getRoot().getHostId(), request.getRoot().getIdCount());
  if (!pidfd) return tl::unexpected{pidfd.error()};
  if (::setns(pidfd->get(), CLONE_NEWNS | (mapped ? CLONE_NEWUSER : 0)) < 0)
    return fail_errno(errno, "Cannot enter the instance's mounts");
  if (mapped && (::setgroups(0, nullptr) < 0 || ::setresgid(0, 0, 0) < 0 || ::setresuid(0, 0, 0) < 0))
    return fail_errno(errno, "Cannot become the instance's root");
  result.directory = unique_fd{::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC)};
  if (!result.directory) return fail_errno(errno, "Cannot open the instance's root");
  return result;
}

outcome<opened_root> open_root(job_context& job, schema::FileJob::Reader request) {
  ::umask(0);
  if (request.getLeader() > 0) return enter_running(request);
  auto view = assemble_for_files(job.stage, request.getRoot(), !request.isRead());
  if (!view) return tl::unexpected{view.error()};
  opened_root result;
  result.proc = open_proc_self_fd();
  result.base = view->owner;
  result.ids = request.getRoot().getIdCount();
  result.directory = unique_fd{::open(view->path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
  if (!result.directory) return fail_errno(errno, "Cannot open the root file system " + view->path);
  return result;
}

} // namespace

outcome<void> run_file(job_context& job, schema::FileJob::Reader request) {
  auto root = open_root(job, request);
  if (!root) return tl::unexpected{root.error()};
  return serve_file(job.socket, *root, request);
}

} // namespace troupe::lxc
