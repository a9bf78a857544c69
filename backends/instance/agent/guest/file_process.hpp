#pragma once

#include "backends/instance/agent/guest/child.hpp"
#include "backends/instance/agent/streams.hpp"
#include "messages/error.hpp"

namespace troupe::guest {

/// Does a job with files in a process of its own, because a file system may hang. Killed when nobody holds it.
/// As a stream it is what that process reads; what it says goes to `output`.
class file_process final : public ByteStream::Server {
public:
  file_process(kj::UnixEventPort& port, kj::Own<child> process, unique_fd socket, ByteStream::Client output);
  kj::Promise<void> write(WriteContext context) override { return input_.write(context); }
  kj::Promise<void> end(EndContext context) override { return input_.end(context); }

private:
  kj::Own<child> process_;
  std::shared_ptr<loop_fd> socket_;
  fd_receiver input_;
  fd_sender sender_;
  kj::Promise<void> sent_;
};

outcome<ByteStream::Client> start_file_process(kj::UnixEventPort& port, schema::FileJob::Reader job,
                                               ByteStream::Client output);

} // namespace troupe::guest
