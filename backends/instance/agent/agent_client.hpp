#pragma once

#include "backends/instance/instance_driver.hpp"

#include <memory>
#include <string>

namespace troupe {

/// Our side of the conversation with the agent inside a virtual machine, over the machine's virtio-serial port, which
/// QEMU shows as a unix socket. What the agent says is a stranger's: bounded, and never waited for without end.
/// Thread-safe; every call may block, for `patience` at most where nobody inside answers. `wrong_state`: no agent is
/// there (not yet, or not any more).
class agent_client {
public:
  virtual ~agent_client() = default;
  /// True from the agent's hello to its end.
  virtual bool connected() const = 0;
  virtual outcome<std::unique_ptr<exec_session>> exec(exec_plan plan) = 0;
  virtual outcome<file_info> read_file(const std::string& path) = 0;
  virtual outcome<unique_fd> write_file(const std::string& path, const file_write& how) = 0;
  virtual outcome<void> finish_write(const unique_fd& file) = 0;
  virtual outcome<void> remove_file(const std::string& path) = 0;
  /// A socket that speaks SFTP (version 3) until it is closed.
  virtual outcome<unique_fd> serve_sftp() = 0;
  virtual std::optional<guest_report> report() = 0;
  /// Tells the guest to shut down in an orderly way.
  virtual outcome<void> request_stop(bool reboot) = 0;
  /// Makes the guest's clock the host's: it stood still while the machine did.
  virtual outcome<void> set_clock() = 0;
};

/// All agents of this daemon share one event loop on a thread of its own.
class agent_clients {
public:
  virtual ~agent_clients() = default;
  /// Connects to `socket`, and again whenever the agent goes away, until the client is dropped. `heard` is told when
  /// an agent comes (true) and goes (false); it is called on the loop's thread and must not block.
  virtual std::shared_ptr<agent_client> open(const std::string& socket, std::function<void(bool)> heard) = 0;
};
std::unique_ptr<agent_clients> make_agent_clients();

} // namespace troupe
