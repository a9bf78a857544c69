#include "cli/image/boot_disk.hpp"
#include "cli/image/debian.hpp"
#include "cli/interrupt.hpp"
#include "cli/progress.hpp"

#include <algorithm>
#include <filesystem>

namespace troupe {
namespace {

namespace fs = std::filesystem;

// A GPT with the file system that the firmware boots from and the root, which grows with the disk at each boot.

constexpr uint64_t mib = 1 << 20;
constexpr uint64_t boot_mib = 64, root_at_mib = 1 + boot_mib, room_mib = 256; // room: what is free in the root
constexpr const char* packages = "linux-image-cloud-amd64,initramfs-tools,udev,kmod,e2fsprogs,shim-signed,"
                                 "grub-efi-amd64-signed";

constexpr overlay_entry machine_overlay[] = {
    {"etc/fstab", "LABEL=root / ext4 defaults,discard,x-systemd.growfs 0 1\n"},
    {"etc/repart.d/50-root.conf", "[Partition]\nType=root\n"},
    {"etc/hosts", "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"},
    // The agent comes with the config drive, so that it is as new as the server.
    {"etc/udev/rules.d/90-troupe-agent.rules",
     "SUBSYSTEM==\"virtio-ports\", ATTR{name}==\"troupe.agent.0\", TAG+=\"systemd\", "
     "ENV{SYSTEMD_WANTS}+=\"troupe-agent.service\"\n"},
    {"etc/systemd/system/troupe-agent.service",
     "[Unit]\nDescription=Troupe agent\nStartLimitIntervalSec=0\n\n"
     "[Service]\nExecStartPre=mkdir -p /run/troupe-drive\n"
     "ExecStartPre=sh -c 'mountpoint -q /run/troupe-drive || mount -o ro LABEL=cidata /run/troupe-drive'\n"
     "ExecStart=/run/troupe-drive/start\nRestart=on-failure\nRestartSec=2\nKillMode=process\n"},
    {"etc/systemd/system/troupe-hostname.service",
     "[Unit]\nDescription=Name from the config drive\nAfter=troupe-agent.service\n"
     "ConditionPathExists=!/var/lib/cloud\n\n"
     "[Service]\nType=oneshot\nExecStart=sh -c 'hostnamectl hostname \"$(sed -n \"s/^local-hostname: //p\" "
     "/run/troupe-drive/meta-data)\"'\n"},
    {"etc/systemd/system/troupe-agent.service.wants/troupe-hostname.service", nullptr,
     "/etc/systemd/system/troupe-hostname.service"},
};

constexpr const char* boot_config = "search --no-floppy --label root --set=root\n"
                                    "set timeout=0\n"
                                    "menuentry Debian {\n"
                                    "  linux /vmlinuz root=LABEL=root rw net.ifnames=0 console=tty0 console=ttyS0\n"
                                    "  initrd /initrd.img\n"
                                    "}\n";

uint64_t size_of_tree(const std::string& root) {
  uint64_t sum = 0;
  for (auto& each : fs::recursive_directory_iterator{root})
    sum += each.is_regular_file() && !each.is_symlink() ? (each.file_size() / 4096 + 2) * 4096 : 4096;
  return sum;
}

outcome<void> make_disk(const kitchen& in, const std::string& root, const std::string& disk) {
  auto boot = in.folder + "/boot.img";
  if (auto done = make_boot_disk(in, boot, boot_mib * 1024, root, boot_config, {}); !done) return done;
  auto root_mib = size_of_tree(root) * 11 / 10 / mib + room_mib;
  auto first = std::to_string(root_at_mib) + "M";
  const std::vector<std::string> calls[] = {
      {"truncate", "-s", std::to_string(root_at_mib + root_mib + 1) + "M", disk},
      {"sgdisk", "--clear", "-n1:1M:+" + std::to_string(boot_mib) + "M", "-t1:EF00", "-n2:" + first + ":0", "-t2:8304",
       disk},
      {"dd", "if=" + boot, "of=" + disk, "bs=1M", "seek=1", "conv=notrunc,sparse", "status=none"},
      {"mke2fs", "-q", "-F", "-t", "ext4", "-L", "root", "-d", root, "-E",
       "offset=" + std::to_string(root_at_mib * mib), disk, std::to_string(root_mib) + "M"},
  };
  for (auto& call : calls)
    if (auto done = run_tool(in, call, call[0] == "sgdisk" ? "gdisk" : "e2fsprogs"); !done)
      return tl::unexpected{done.error()};
  return {};
}

} // namespace

outcome<image_files> cook_debian12_machine(const kitchen& in) {
  if (machine_architecture() != "x86_64")
    return fail(fault::unsupported, "This recipe is for machines of the architecture x86_64");
  auto made = debian_serial();
  auto root = in.folder + "/root", raw = in.folder + "/disk.raw";
  image_files files{.metadata = in.folder + "/metadata.tar.gz", .rootfs = in.folder + "/disk.qcow2"};
  if (auto done = write_debian_metadata(files.metadata, made, true); !done) return tl::unexpected{done.error()};
  if (auto done = bootstrap_debian(in, made, root, packages, machine_overlay); !done)
    return tl::unexpected{done.error()};
  in.shown.step("making a disk");
  if (auto done = make_disk(in, root, raw); !done) return tl::unexpected{done.error()};
  auto packed = run_tool(
      in, {"qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-c", "-m", "4", "-W", raw, files.rootfs}, "qemu-utils");
  if (!packed) return tl::unexpected{packed.error()};
  return files;
}

} // namespace troupe
