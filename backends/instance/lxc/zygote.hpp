#pragma once

#include "backends/instance/job_answer.hpp"
#include "backends/instance/lxc/places.hpp"

#include <mutex>
#include <span>
#include <string>

namespace troupe::lxc {

using job_request = message<schema::HelperJob>;

/// The process that forks a child for every job; started at the first job and again when it has died. Thread-safe: jobs
/// run in parallel, only the hand-over is serialised. Destroying it ends the process, not the jobs and monitors.
class zygote {
public:
  zygote(std::string program, std::string lxcpath);
  ~zygote();
  zygote(const zygote&) = delete;
  zygote& operator=(const zygote&) = delete;

  /// Runs one job up to its first answer. An `error` answer becomes the error. A job that dies without an answer gives
  /// backend_failed; one that never began, because the helper was killed, is given to a new helper.
  outcome<job_reply> run(const job_request& request, std::span<const int> fds = {});

  /// The process at this moment, 0 when none was started.
  pid_t pid() const;

private:
  outcome<void> start_locked();
  void forget_locked();
  outcome<unique_fd> submit();

  const std::string program_, lxcpath_;
  mutable std::mutex lock_;
  unique_fd socket_;
  pid_t pid_ = 0;
};

} // namespace troupe::lxc
