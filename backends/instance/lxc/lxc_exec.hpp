#pragma once

#include "backends/instance/instance_driver.hpp"
#include "backends/instance/lxc/zygote.hpp"

namespace troupe::lxc {

/// A command that a job of the helper looks after; when this object goes, so does the command.
class lxc_exec final : public exec_session {
public:
  lxc_exec(unique_fd socket, unique_fd pty);

  int done_fd() const noexcept override { return socket_.get(); }
  int pty() const noexcept override { return pty_.get(); }
  outcome<int> result() override;
  outcome<void> signal(int number) override;
  outcome<void> resize(uint16_t width, uint16_t height) override;

private:
  unique_fd socket_, pty_;
};

} // namespace troupe::lxc
