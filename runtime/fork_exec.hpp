#pragma once

#include "messages/error.hpp"
#include "messages/unique_fd.hpp"
#include "runtime/child.hpp"

namespace troupe {

struct started {
  pid_t pid = 0;
  unique_fd pidfd;
};

/// Makes the process of `spec` and returns when its program runs. The caller reaps it. With `die_with_daemon` the
/// process dies when the *calling thread* ends. Internal to child.cpp.
outcome<started> fork_exec(const child_spec& spec);

} // namespace troupe
