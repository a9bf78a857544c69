#include "backends/instance/lxc/helper/jobs.hpp"
#include "backends/instance/lxc/proc_facts.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdlib>

namespace troupe::lxc {
namespace {

/// Asks the monitor; blocks while it is busy with a reboot. 0: there is no monitor.
pid_t ask_leader(lxc_container* c) { return std::max<pid_t>(c->init_pid(c), 0); }

outcome<void> send_found(job_context& job, pid_t leader) {
  auto monitor = leader > 0 ? read_proc(leader).parent : 0;
  auto told = answer::make([&](schema::HelperAnswer::Builder a) {
    auto found = a.initFound();
    found.setLeader(monitor > 0 ? leader : 0);
    found.setMonitor(monitor);
    found.setMonitorStart(read_proc(monitor).start);
  });
  return send_message(job.socket, told);
}

} // namespace

outcome<void> run_find(job_context& job) {
  auto locked = lock_key(job, hold::shared);
  if (!locked) return tl::unexpected{locked.error()};
  auto c = open_container(job);
  if (!c) return tl::unexpected{c.error()};
  return send_found(job, ask_leader(c->get()));
}

outcome<void> run_await_reboot(job_context& job) {
  auto c = open_container(job);
  if (!c) return tl::unexpected{c.error()};
  for (;;) {
    auto leader = ask_leader(c->get());
    if (leader == 0 || read_proc(leader).alive()) return send_found(job, leader);
    // The monitor has not yet seen that its init died. It tells when it does; from then on it answers nobody until the
    // next init runs. The second bounds the case that all this happened between the question and this line.
    (*c)->wait(c->get(), "STOPPING|STOPPED|ABORTING", 1);
  }
}

outcome<void> run_freeze(job_context& job, bool freeze) {
  auto c = open_container(job);
  if (!c) return tl::unexpected{c.error()};
  if (ask_leader(c->get()) == 0) return fail(fault::wrong_state, "The instance is not running");
  bool good = freeze ? (*c)->freeze(c->get()) : (*c)->unfreeze(c->get());
  if (!good)
    return fail(fault::backend_failed,
                freeze ? "liblxc could not freeze the instance" : "liblxc could not thaw the instance");
  return send_message(job.socket, done_answer());
}

outcome<void> run_console_log(job_context& job, bool clear) {
  auto c = open_container(job);
  if (!c) return tl::unexpected{c.error()};
  uint64_t size = 0;
  lxc_console_log log{};
  log.read = true;
  log.clear = clear;
  log.read_max = &size;
  int result = (*c)->console_log(c->get(), &log);
  if (result == -ENODATA || result == -ENOENT)
    size = 0;
  else if (result < 0)
    return fail_errno(-result, "Cannot read the console of the instance");
  auto told = answer::make([&](schema::HelperAnswer::Builder a) {
    a.setLog(capnp::Data::Reader{reinterpret_cast<const kj::byte*>(log.data), size});
  });
  ::free(log.data);
  return send_message(job.socket, told);
}

} // namespace troupe::lxc
