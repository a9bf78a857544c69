#pragma once

#include <string_view>

namespace troupe::qemu {

/// One architecture that machines may have: QEMU's names for its parts. nullptr: it has no such part.
struct architecture {
  std::string_view name;
  const char* program;   // in /usr/bin
  const char* machine;   // and its options
  const char* kvm_cpu;   // processor under KVM
  const char* tcg_cpu;   // processor when QEMU emulates
  const char* bus;       // "pci" or "ccw": ending of the names of virtio devices
  const char* root;      // where devices that stay are plugged in
  bool ports;            // each device that comes and goes needs a PCIe port
  const char* serial;    // device of the serial console
  const char* display;   // device of the screen
  const char* watcher;   // device that hears of a panic
  const char* firmware;  // UEFI code, with secure boot and without, below `firmware_folder`
  const char* variables; // template of its variables
  const char* secure_firmware;
  const char* secure_variables;
  const char* firmware_folder;
  bool smm; // what guards the variables is system management mode
};

/// nullptr: machines of that architecture are not known.
const architecture* find_architecture(std::string_view name);

} // namespace troupe::qemu
