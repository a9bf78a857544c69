#include "cli/image/boot_disk.hpp"

#include <fstream>

namespace troupe {

outcome<void> make_boot_disk(const kitchen& in, const std::string& path, unsigned kib, const std::string& packages,
                             std::string_view config, std::span<const std::pair<std::string, std::string>> files) {
  auto config_path = in.folder + "/grub.cfg";
  std::ofstream{config_path} << config;
  if (auto made = run_tool(in, {"mkfs.vfat", "-C", "-n", "BOOT", path, std::to_string(kib)}, "dosfstools"); !made)
    return tl::unexpected{made.error()};
  if (auto made = run_tool(in, {"mmd", "-i", path, "::/EFI", "::/EFI/BOOT", "::/EFI/debian"}, "mtools"); !made)
    return tl::unexpected{made.error()};
  std::vector<std::pair<std::string, std::string>> all{
      {packages + "/usr/lib/shim/shimx64.efi.signed", "::/EFI/BOOT/BOOTX64.EFI"},
      {packages + "/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed", "::/EFI/BOOT/grubx64.efi"},
      {config_path, "::/EFI/debian/grub.cfg"}}; // where the signed GRUB looks
  all.insert(all.end(), files.begin(), files.end());
  for (auto& [from, to] : all)
    if (auto done = run_tool(in, {"mcopy", "-i", path, from, to}, "mtools"); !done) return tl::unexpected{done.error()};
  return {};
}

} // namespace troupe
