#pragma once

#include "backends/instance/qemu/architectures.hpp"
#include "messages/error.hpp"
#include "messages/unique_fd.hpp"

#include <string>

namespace troupe::qemu {

struct machine_firmware {
  unique_fd code, variables; // read-only; for reading and writing
};

/// Opens the firmware of a machine. Its variables are the file `nvram` in its volume: made from the distribution's
/// template when there is none, or when it was made for the other choice of secure boot.
/// `folder`: where both are, if not where the architecture says.
outcome<machine_firmware> open_firmware(const architecture& arch, bool secure, const std::string& folder,
                                        const std::string& volume);

} // namespace troupe::qemu
