#pragma once

#include "backends/instance/agent/agent_session.hpp"
#include "messages/error.hpp"

#include <atomic>
#include <functional>
#include <memory>
#include <string>

namespace troupe::guest {

/// The way to one machine's agent: the socket that QEMU shows, sessions on it, and the socket again when it is back.
/// On the loop's thread, but for `connected`.
class agent_connection final : public line::user {
public:
  agent_connection(kj::AsyncIoContext& io, std::string socket, std::function<void(bool)> heard,
                   std::shared_ptr<std::atomic<bool>> connected);
  ~agent_connection();

  /// null: no agent is there.
  agent_session* session() { return session_.get(); }
  kj::UnixEventPort& port() { return io_.unixEventPort; }
  kj::Timer& timer() { return io_.provider->getTimer(); }
  /// Goes on when its caller has gone, until this connection ends; its failure is nobody's.
  void keep(kj::Promise<void> work) { tasks_.add(kj::mv(work)); }

  void session_began(kj::Own<kj::AsyncIoStream> stream) override;
  void session_ended() override;

private:
  kj::Promise<void> live();
  kj::Promise<void> find_socket(unsigned refusals);
  kj::Promise<void> talk(unique_fd socket);

  class errors final : public kj::TaskSet::ErrorHandler {
    void taskFailed(kj::Exception&&) override {}
  };

  kj::AsyncIoContext& io_;
  const std::string socket_;
  const std::function<void(bool)> heard_;
  const std::shared_ptr<std::atomic<bool>> connected_;
  unique_fd changes_; // inotify of the socket's folder
  kj::Own<kj::UnixEventPort::FdObserver> changed_;
  uint64_t sessions_ = 0;
  std::unique_ptr<agent_session> session_;
  kj::Own<line> line_;
  errors errors_;
  kj::TaskSet tasks_;
  kj::Promise<void> life_ = nullptr;
};

} // namespace troupe::guest
