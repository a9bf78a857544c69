#pragma once

#include "backends/instance/frame.hpp"
#include "messages/error.hpp"
#include "messages/helper.capnp.h"
#include "messages/unique_fd.hpp"

#include <vector>

namespace troupe {

using job_answer = message<schema::HelperAnswer>;

/// A job's first answer and the socket on which more may come.
struct job_reply {
  job_answer answer;
  std::vector<unique_fd> fds;
  unique_fd socket;
};

/// How long a call on a job's socket waits; 0: for ever.
void limit_waiting(int socket, uint32_t seconds);

/// The next frame of a job as an answer; an `error` answer becomes the error.
outcome<job_reply> next_answer(int socket);

} // namespace troupe
