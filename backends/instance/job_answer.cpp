#include "backends/instance/job_answer.hpp"

#include "messages/config_map.hpp"

#include <kj/exception.h>
#include <sys/socket.h>
#include <sys/time.h>

namespace troupe {

outcome<job_reply> next_answer(int socket) {
  auto got = receive_frame(socket);
  if (!got) {
    if (got.error().code != fault::cancelled) return tl::unexpected{got.error()};
    return fail(fault::backend_failed, "The helper's job ended without an answer");
  }
  job_reply reply{job_answer::from_bytes(got->bytes), std::move(got->fds), {}};
  try {
    auto problem = reply.answer.read([](auto a) -> outcome<void> {
      if (!a.isError()) return {};
      return fail(static_cast<fault>(a.getError().getCode()), text(a.getError().getMessage()),
                  text(a.getError().getEntity()));
    });
    if (!problem) return tl::unexpected{problem.error()};
  } catch (const kj::Exception& e) {
    return fail(fault::internal, std::string{"The helper's answer cannot be read: "} + e.getDescription().cStr());
  }
  return reply;
}

void limit_waiting(int socket, uint32_t seconds) {
  timeval limit{};
  limit.tv_sec = seconds;
  ::setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  ::setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
}

} // namespace troupe
