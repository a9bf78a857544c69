#pragma once

#include "backends/instance/agent/agent_connection.hpp"
#include "backends/instance/agent/streams.hpp"

namespace troupe::guest {

/// The loop's end of a socket pair, at the other end of which a thread speaks with a file job of the guest as it would
/// with one of this host's helpers (helper.capnp). It ends when the job or that thread does; a job that breaks off
/// breaks the socket, too.
class file_tunnel {
public:
  /// `reads`: the job gets nothing, and the thread's one byte is taken when all was delivered.
  file_tunnel(kj::UnixEventPort& port, unique_fd socket, bool reads);
  KJ_DISALLOW_COPY(file_tunnel);

  ByteStream::Client output();
  kj::Promise<void> run(ByteStream::Client input);

private:
  kj::Promise<void> await_byte();

  std::shared_ptr<loop_fd> socket_;
  const bool reads_;
  kj::Promise<void> ended_ = nullptr; // fails when the job breaks off
  std::unique_ptr<fd_sender> sender_;
  kj::Promise<void> sent_ = nullptr;
};

} // namespace troupe::guest
