#pragma once

#include "backends/instance/agent/line.hpp"
#include "messages/agent.capnp.h"

#include <kj/async-unix.h>
#include <memory>

namespace troupe::guest {

/// The agent: what it does for the daemon, in one session after the other. What a session has begun ends with it.
class agent final : public line::user {
public:
  agent(kj::UnixEventPort& port, unique_fd pipe, line::at_end how);
  ~agent();
  /// Until the pipe ends.
  kj::Promise<void> run() { return line_.run(); }
  kj::Promise<void> say_bye() { return line_.say_bye(); }

  void session_began(kj::Own<kj::AsyncIoStream> stream) override;
  void session_ended() override;

private:
  struct session;
  class errors final : public kj::TaskSet::ErrorHandler {
    void taskFailed(kj::Exception&&) override {} // a session's end says it all
  };
  kj::UnixEventPort& port_;
  errors errors_;
  uint64_t sessions_ = 0;
  std::unique_ptr<session> session_;
  line line_;
  kj::TaskSet tasks_;
};

} // namespace troupe::guest
