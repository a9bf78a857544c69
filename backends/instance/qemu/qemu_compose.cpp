#include "backends/instance/agent/seed_drive.hpp"
#include "backends/instance/qemu/qemu_parts.hpp"

namespace troupe {

std::unique_ptr<instance_driver> make_qemu_driver(qemu_place place) {
  return qemu::make_driver(std::move(place), {make_agent_clients(), write_seed_drive, {}});
}

} // namespace troupe
