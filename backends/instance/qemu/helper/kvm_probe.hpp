#pragma once

#include "messages/error.hpp"

namespace troupe::qemu {

/// Runs a guest of a few instructions on /dev/kvm: 64-bit code behind page tables that computes in SSE registers. There
/// are hosts whose /dev/kvm opens and makes machines, but cannot run the like. `unsupported`: QEMU has to emulate.
/// A guest that spins ends this process after a second.
outcome<void> probe_kvm();

} // namespace troupe::qemu
