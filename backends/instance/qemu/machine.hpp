#pragma once

#include "backends/instance/agent/agent_client.hpp"
#include "backends/instance/qemu/architectures.hpp"
#include "backends/instance/qemu/launch.hpp"
#include "backends/instance/qemu/machine_console.hpp"
#include "backends/instance/qemu/qmp_client.hpp"

#include <functional>
#include <memory>
#include <set>
#include <string>

namespace troupe::qemu {

/// A machine that runs, as this daemon talks to it. Thread-safe; each call waits for QEMU, within bounds.
class machine {
public:
  using news_sink = std::function<void(const machine_news&)>;
  /// Connects; QEMU need not answer yet. `news` is called on the loop's thread.
  static outcome<std::shared_ptr<machine>> open(socket_loop& loop, std::string key, std::string directory,
                                                machine_process process, news_sink news);

  const machine_process process;
  const std::shared_ptr<qmp_client> qmp;
  const std::shared_ptr<machine_console> console;
  std::shared_ptr<agent_client> agent; // set before anybody else knows the machine

  // Changes of hardware; adding what is there and removing what is not succeed.
  outcome<void> add(const drive_plan& drive);
  outcome<void> remove(const drive_plan& drive);
  outcome<void> add(const nic_plan& nic);
  outcome<void> remove(const nic_plan& nic);

  outcome<unique_fd> display(std::string_view protocol);
  outcome<std::string> screenshot();

private:
  struct deletions; // what QEMU told of
  machine(machine_process p, std::shared_ptr<qmp_client> q, std::shared_ptr<machine_console> c,
          std::shared_ptr<deletions> gone)
      : process{p}, qmp{std::move(q)}, console{std::move(c)}, deletions_{std::move(gone)} {}
  outcome<bool> has(const std::string& device);
  outcome<std::string> free_port();
  outcome<void> remove_device(const std::string& device);

  std::shared_ptr<deletions> deletions_;
};

} // namespace troupe::qemu
