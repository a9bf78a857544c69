#pragma once

#include "backends/instance/instance_driver.hpp"
#include "backends/instance/lxc/zygote.hpp"

namespace troupe::lxc {

/// A command that a job of the helper looks after; when this object goes, so does the command, unless it has an
/// operation.
class lxc_exec : public exec_session {
public:
  lxc_exec(unique_fd socket, unique_fd pty);

  int done_fd() const noexcept override { return socket_.get(); }
  int pty() const noexcept override { return pty_.get(); }
  outcome<int> result() override;
  outcome<void> signal(int number) override;
  outcome<void> resize(uint16_t width, uint16_t height) override;
  void close_end(int stream) override;
  void forget() override;

protected:
  unique_fd socket_, pty_;
};

/// Somebody at the console: its bytes are on a socket, and the helper's job knows the terminal.
class lxc_console final : public lxc_exec {
public:
  using lxc_exec::lxc_exec;
  outcome<void> signal(int number) override;
  outcome<void> resize(uint16_t width, uint16_t height) override;
};

/// Those that outlive the daemon, in their folder.
std::vector<std::string> list_execs(const std::string& lxcpath);
outcome<found_exec> find_exec(const std::string& lxcpath, const std::string& operation, bool attend);

} // namespace troupe::lxc
