#pragma once

#include <nlohmann/json_fwd.hpp>

namespace troupe {

// The host's devices as GET /1.0/resources shows them: each a list and its size.

nlohmann::json storage_devices();
nlohmann::json network_devices();
nlohmann::json pci_devices();
nlohmann::json usb_devices();
nlohmann::json gpu_devices();

} // namespace troupe
