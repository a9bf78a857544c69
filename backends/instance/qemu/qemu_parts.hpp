#pragma once

#include "backends/instance/agent/agent_client.hpp"
#include "backends/instance/qemu/qemu_driver.hpp"

#include <functional>
#include <map>
#include <memory>
#include <string>

namespace troupe::qemu {

/// What the driver is put together from; tests bring their own.
struct parts {
  std::unique_ptr<agent_clients> agents; // nullptr: nobody is ever inside
  /// Writes a config drive; empty: machines have none.
  std::function<outcome<void>(const std::string& path, const std::map<std::string, std::string>& files,
                              const std::string& agent)>
      write_seed;
  std::string firmware_folder = {}; // instead of the distribution's
};
std::unique_ptr<instance_driver> make_driver(qemu_place place, parts with);

} // namespace troupe::qemu
