#pragma once

#include "backends/instance/frame.hpp"
#include "backends/instance/helper/answer.hpp"
#include "backends/instance/lxc/places.hpp"
#include "messages/error.hpp"
#include "messages/helper.capnp.h"

#include <lxc/lxccontainer.h>
#include <memory>
#include <string>
#include <vector>

namespace troupe::lxc {

using namespace files;

/// What every job needs to know. One job runs per process, single-threaded.
struct job_context {
  int socket = -1; // to the daemon
  std::string key, lxcpath, stage;
  std::vector<unique_fd> fds; // came with the request
};

struct put_container {
  void operator()(lxc_container* c) const noexcept { lxc_container_put(c); }
};
using container = std::unique_ptr<lxc_container, put_container>;

/// A fresh handle without any configuration.
outcome<container> open_container(const job_context& job);

/// Held by a start from its first look until the container is reported, shared by those who look for one: a start that
/// outlives its daemon is waited for instead of being overlooked. Falls with the process; its children do not keep it.
enum class hold { alone, shared };
outcome<unique_fd> lock_key(const job_context& job, hold how);

std::string liblxc_version();
/// Touches what liblxc loads and allocates lazily, so that forked jobs share it.
void warm_up(const char* lxcpath);
/// Runs the one job that arrives on `socket`; returns the process's exit status.
int run_job(int socket);

// The jobs. Each sends its own answer on success; an error is sent by run_job.
outcome<void> run_start(job_context& job, schema::StartJob::Reader request);
outcome<void> run_find(job_context& job);
outcome<void> run_await_reboot(job_context& job);
outcome<void> run_freeze(job_context& job, bool freeze);
outcome<void> run_console_log(job_context& job, bool clear);
outcome<void> run_exec(job_context& job, schema::ExecJob::Reader request);
outcome<void> run_console(job_context& job, schema::ConsoleJob::Reader request);
outcome<void> run_file(job_context& job, schema::FileJob::Reader request);
outcome<void> run_plug(job_context& job, schema::PlugJob::Reader request);
outcome<void> run_device_rule(job_context& job, schema::DeviceRule::Reader request);

} // namespace troupe::lxc
