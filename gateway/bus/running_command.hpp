#pragma once

#include "actors/instance.hpp"
#include "gateway/bus/place.hpp"
#include "messages/bus.capnp.h"
#include "messages/unique_fd.hpp"

#include <kj/async-unix.h>

namespace troupe::on_bus {

/// Our ends of a command's streams.
struct command_streams {
  struct output {
    unique_fd from;
    kj::Maybe<bus::ByteStream::Client> sink; // none: read and thrown away
  };
  unique_fd input;
  std::vector<output> outputs;
};

/// A command that runs inside an instance: moves its output as fast as the sinks take it, and tells its operation how
/// it ended. Keeps itself alive until then.
class running_command : public std::enable_shared_from_this<running_command> {
public:
  static std::shared_ptr<running_command> start(const place& at, std::string operation, exec_session_ptr session,
                                                std::vector<command_streams::output> outputs);
  running_command(const place& at, std::string operation, exec_session_ptr session);

  /// The exit status, once the sinks have all the output.
  kj::Promise<int> end() { return end_.addBranch(); }
  void kill();
  /// Nothing more comes from its caller.
  void end_input() {
    if (!ended_ && !ending_) session_->close_end(0);
  }
  exec_session& session() { return *session_; }

private:
  class pump;
  kj::Promise<void> watch();

  services& with_;
  const bool& ending_; // the daemon
  std::string operation_;
  exec_session_ptr session_;
  kj::UnixEventPort& port_;
  kj::Own<kj::UnixEventPort::FdObserver> done_;
  bool ended_ = false;
  std::vector<std::unique_ptr<pump>> pumps_;
  kj::ForkedPromise<void> process_end_ = nullptr; // may come before the output's
  kj::ForkedPromise<int> end_ = nullptr;
};

/// Records the end of a command's operation; what ran the command keeps its result until that is on disk.
void finish_command(const services& with, const std::string& operation, const outcome<void>& how, int status,
                    exec_session_ptr session = nullptr);

} // namespace troupe::on_bus
