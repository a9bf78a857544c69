#include "backends/instance/helper/confined.hpp"
#include "backends/instance/lxc/cgroup_tree.hpp"
#include "backends/instance/lxc/helper/device_view.hpp"
#include "backends/instance/lxc/helper/jobs.hpp"
#include "backends/instance/lxc/helper/root_view.hpp"
#include "backends/instance/lxc/proc_facts.hpp"
#include "messages/config_map.hpp"

#include <array>
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace troupe::lxc {
namespace {

/// A template never changes the mode of what is there, and is never written into anything but a regular file.
outcome<void> write_boot_file(int root, int proc, schema::StartJob::BootFile::Reader file) {
  auto path = text(file.getPath());
  auto parts = split(path);
  if (!parts) return tl::unexpected{parts.error()};
  auto directory = make_directories(root, parts->parent);
  if (!directory) return tl::unexpected{directory.error()};
  unique_fd target;
  if (auto there = open_confined(root, path, O_PATH)) {
    struct stat st {};
    if (file.getCreateOnly()) return {};
    if (::fstat(there.get(), &st) < 0 || !S_ISREG(st.st_mode))
      return fail(fault::wrong_state, "The template's target is not a regular file: " + path);
    target = reopen(proc, there.get(), O_WRONLY | O_TRUNC);
  } else {
    target = open_confined(root, path, O_WRONLY | O_CREAT | O_NONBLOCK, 0644);
  }
  if (!target) return fail_errno(errno, "Cannot write the template " + path);
  return write_all(target.get(), reinterpret_cast<const char*>(file.getContent().begin()), file.getContent().size(),
                   path);
}

outcome<void> write_boot_files(const root_view& view, capnp::List<schema::StartJob::BootFile>::Reader files) {
  unique_fd root{::open(view.path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
  if (!root) return fail_errno(errno, "Cannot open the root file system " + view.path);
  auto proc = open_proc_self_fd();
  file_identity as_owner{view.owner};
  ::umask(022);
  for (auto file : files)
    if (auto done = write_boot_file(root.get(), proc.get(), file); !done) return done;
  return {};
}

/// liblxc's own words: "lxc c1 20260101120000.123 ERROR    conf - ../src/lxc/conf.c:fn:3708 - Why". The first error is
/// the cause, the others follow from it.
std::string first_error(const std::string& log_file) {
  auto log = read_small(log_file);
  auto at = log.find(" ERROR ");
  if (at == std::string::npos) return {};
  auto line = log.substr(at, log.find('\n', at) - at);
  for (int dash = 0; dash < 2; ++dash) {
    auto cut = line.find(" - ");
    if (cut == std::string::npos) break;
    line = line.substr(cut + 3);
  }
  return line;
}

outcome<void> configure(lxc_container* c, schema::StartJob::Reader request, const root_view& view,
                        const std::vector<std::string>& devices) {
  auto set = [&](const std::string& key, const std::string& value) -> outcome<void> {
    if (c->set_config_item(c, key.c_str(), value.c_str())) return {};
    return fail(fault::invalid, "liblxc does not take " + key + " = " + value);
  };
  auto done = set("lxc.log.file", text(request.getLogFile())).and_then([&] {
    return set("lxc.rootfs.path", "dir:" + view.path);
  });
  for (auto item : request.getSettings())
    if (done) done = set(text(item.getKey()), text(item.getValue()));
  for (auto& entry : devices)
    if (done) done = set("lxc.mount.entry", entry);
  return done;
}

void wait_for_children() {
  while (::waitpid(-1, nullptr, 0) > 0 || errno == EINTR) {
  }
}

unique_fd open_pidfd(pid_t pid) { return unique_fd{static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))}; }

outcome<void> report(job_context& job, lxc_container* c) {
  pid_t leader = c->init_pid(c);
  unique_fd leader_fd{leader > 0 ? c->init_pidfd(c) : -1};
  pid_t monitor = leader > 0 ? read_proc(leader).parent : 0;
  // The monitor is this process's child until the job ends, so its pid cannot have been taken by another.
  auto monitor_fd = monitor > 0 ? open_pidfd(monitor) : unique_fd{};
  if (!leader_fd || !monitor_fd) {
    wait_for_children();
    return fail(fault::backend_failed, "The instance's init ended as soon as it was started");
  }
  auto told = answer::make([&](schema::HelperAnswer::Builder a) {
    auto found = a.initFound();
    found.setLeader(leader);
    found.setMonitor(monitor);
    found.setMonitorStart(read_proc(monitor).start);
  });
  auto sent = send_message(job.socket, told, std::array{leader_fd.get(), monitor_fd.get()});
  if (!sent) { // the daemon has gone, and nobody will ever know of this container
    c->stop(c);
    wait_for_children();
  }
  return sent;
}

} // namespace

outcome<void> run_start(job_context& job, schema::StartJob::Reader request) {
  auto locked = lock_key(job, hold::alone);
  if (!locked) return tl::unexpected{locked.error()};
  auto opened = open_container(job);
  if (!opened) return tl::unexpected{opened.error()};
  auto* c = opened->get();
  if (c->init_pid(c) > 0) return fail(fault::wrong_state, "The instance is already running");
  // What a killed monitor left would make liblxc refuse the names.
  cgroup_tree groups{text(request.getPrefix())};
  groups.remove(job.key);
  bool has_devices = request.getMounts().size() + request.getNodes().size() > 0;
  auto view = assemble_for_boot(job.stage, request.getRoot(), has_devices);
  if (!view) return tl::unexpected{view.error()};
  auto devices = stage_devices(job.stage, request);
  if (!devices) return tl::unexpected{devices.error()};
  if (auto files = write_boot_files(*view, request.getFiles()); !files) return files;
  auto log_file = text(request.getLogFile());
  ::rename(log_file.c_str(), (log_file + ".old").c_str());
  if (auto configured = configure(c, request, *view, *devices); !configured) return configured;
  c->want_daemonize(c, true);
  ::signal(SIGPIPE, SIG_DFL); // the daemon ignores it, and what is ignored would stay so for everything inside
  c->want_close_all_fds(c, true);
  // The monitor becomes a child of this process instead of the machine's init: a failed one can be waited for.
  ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  auto home = read_cgroups("self");
  bool up = c->start(c, 0, nullptr);
  // liblxc has put this process into the monitor's group, which could therefore not be removed.
  enter_cgroups(home);
  if (up) return report(job, c);
  wait_for_children();
  groups.remove(job.key);
  auto why = first_error(log_file);
  return fail(fault::backend_failed,
              why.empty() ? "liblxc could not start the instance" : "Cannot start the instance: " + why);
}

} // namespace troupe::lxc
