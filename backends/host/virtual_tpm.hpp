#pragma once

#include "messages/error.hpp"
#include "messages/unique_fd.hpp"

#include <cstdint>
#include <string>

namespace troupe {

/// The numbers of a TPM's two nodes: the TPM itself, and the kernel's resource manager in front of it.
struct tpm_numbers {
  uint32_t major = 0, minor = 0, manager_major = 0, manager_minor = 0;
};

/// A TPM of the kernel that lasts as long as somebody has `end` open and answers there as a TPM 2.0 does.
struct virtual_tpm {
  unique_fd end;
  uint32_t number = 0; // /dev/tpmNUMBER
  tpm_numbers nodes;   // the manager's are not there yet
};
/// unsupported: the kernel has no proxy for TPMs.
outcome<virtual_tpm> make_virtual_tpm();
/// Waits until the kernel has spoken with whoever answers and offers the resource manager. Blocks, for 30 seconds at
/// most.
outcome<tpm_numbers> await_tpm(const virtual_tpm& tpm);

} // namespace troupe
