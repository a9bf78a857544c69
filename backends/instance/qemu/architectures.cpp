#include "backends/instance/qemu/architectures.hpp"

namespace troupe::qemu {
namespace {

constexpr architecture architectures[] = {
    {"x86_64", "/usr/bin/qemu-system-x86_64", "q35,usb=off", "host", "max", "pci", "pcie.0", true, "isa-serial",
     "virtio-vga", "pvpanic-pci", "OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd", "OVMF_CODE_4M.secboot.fd", "OVMF_VARS_4M.ms.fd",
     "/usr/share/OVMF", true},
    {"aarch64", "/usr/bin/qemu-system-aarch64", "virt,gic-version=max,usb=off", "host", "max", "pci", "pcie.0", true,
     nullptr, "virtio-gpu-pci", nullptr, "AAVMF_CODE.fd", "AAVMF_VARS.fd", "AAVMF_CODE.ms.fd", "AAVMF_VARS.ms.fd",
     "/usr/share/AAVMF", false},
    {"ppc64le", "/usr/bin/qemu-system-ppc64", "pseries,usb=off", "host", "max", "pci", "pci.0", false, "spapr-vty",
     "VGA", nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, false},
    {"s390x", "/usr/bin/qemu-system-s390x", "s390-ccw-virtio,usb=off", "host", "max", "ccw", nullptr, false,
     "sclpconsole", "virtio-gpu-ccw", nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, false},
};

} // namespace

const architecture* find_architecture(std::string_view name) {
  for (const auto& row : architectures)
    if (row.name == name) return &row;
  return nullptr;
}

} // namespace troupe::qemu
