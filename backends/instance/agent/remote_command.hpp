#pragma once

#include "backends/instance/agent/agent_connection.hpp"
#include "backends/instance/agent/agent_loop.hpp"
#include "backends/instance/agent/streams.hpp"
#include "backends/instance/instance_driver.hpp"

#include <mutex>
#include <optional>

namespace troupe::guest {

/// How a command ended, for threads that wait.
struct command_end {
  unique_fd done; // an eventfd
  std::mutex lock;
  std::optional<outcome<int>> status;

  void tell(outcome<int> how); // the first one counts
};

/// A command in a guest, on the loop: carries bytes between its streams and our descriptors until it has ended and they
/// have all. Dropped, the command goes too.
class remote_command {
public:
  /// `terminal`: the loop's end of the socket pair that stands for the command's terminal; else `plan.stdio` is used.
  remote_command(kj::UnixEventPort& port, exec_plan& plan, unique_fd terminal, std::shared_ptr<command_end> end);
  ~remote_command();
  KJ_DISALLOW_COPY(remote_command);

  void fill(Agent::ExecParams::Builder params, const exec_plan& plan);
  /// With what the guest has answered.
  void run(Process::Client process, ByteStream::Client input);
  void signal(int number);
  void resize(uint16_t width, uint16_t height);

private:
  ByteStream::Client output(int stream);
  void close_all();

  const bool interactive_;
  const uint64_t record_;
  std::shared_ptr<loop_fd> fds_[3]; // of a terminal the first
  std::shared_ptr<command_end> end_;
  kj::Maybe<Process::Client> process_;
  std::unique_ptr<fd_sender> sender_;
  kj::Promise<void> sent_ = nullptr, ended_ = nullptr, asked_ = nullptr;
};

/// For whoever waits for it, on any thread.
class remote_session final : public exec_session {
public:
  remote_session(std::shared_ptr<agent_loop> on, std::unique_ptr<remote_command> command,
                 std::shared_ptr<command_end> end, unique_fd terminal);
  ~remote_session() override;

  int done_fd() const noexcept override { return end_->done.get(); }
  int pty() const noexcept override { return terminal_.get(); }
  outcome<int> result() override;
  outcome<void> signal(int number) override;
  outcome<void> resize(uint16_t width, uint16_t height) override;

private:
  std::shared_ptr<agent_loop> loop_;
  std::unique_ptr<remote_command> command_; // the loop's
  std::shared_ptr<command_end> end_;
  unique_fd terminal_;
};

} // namespace troupe::guest
