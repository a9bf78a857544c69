#include "cli/image/boot_disk.hpp"
#include "cli/interrupt.hpp"
#include "cli/progress.hpp"
#include "cli/tar_file.hpp"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <filesystem>
#include <sstream>
#include <sys/stat.h>

namespace troupe {
namespace {

namespace fs = std::filesystem;

// A small virtual machine that boots with secure boot on: one FAT file system as the firmware reads it, with Debian's
// signed loaders and kernel, and a root file system in memory that is BusyBox. The disk itself is mounted at /boot.

constexpr const char* kernels = "linux-image-cloud-amd64";
constexpr const char* loaders[] = {"shim-signed", "grub-efi-amd64-signed"};
constexpr unsigned disk_kib = 65536;

// In the order of need; each brings what it stands on.
constexpr const char* modules[] = {"virtio_pci", "virtio_scsi", "sd_mod",    "sr_mod",         "virtio_blk",    "nvme",
                                   "virtio_net", "isofs",       "nls_ascii", "nls_cp437",      "vfat",          "ext4",
                                   "virtio_rng", "button",      "evdev",     "virtio_balloon", "virtio_console"};

struct entry {
  const char* name;
  const char* content; // null: a folder
  int mode = 0644;
};

// The shell scripts run inside the machine, by its own init.
constexpr entry tree[] = {
    {"bin", nullptr, 0755},
    {"boot", nullptr, 0755},
    {"config", nullptr, 0755},
    {"dev", nullptr, 0755},
    {"etc", nullptr, 0755},
    {"lib", nullptr, 0755},
    {"mnt", nullptr, 0755},
    {"proc", nullptr, 0555},
    {"root", nullptr, 0700},
    {"run", nullptr, 0755},
    {"sys", nullptr, 0555},
    {"tmp", nullptr, 01777},
    {"var", nullptr, 0755},
    {"var/log", nullptr, 0755},
    {"etc/passwd", "root::0:0:root:/root:/bin/sh\n"},
    {"etc/group", "root:x:0:\n"},
    {"etc/os-release", "ID=busybox\nNAME=BusyBox\nPRETTY_NAME=BusyBox\n"},
    {"etc/inittab", "::sysinit:/etc/boot\n::respawn:/bin/acpid -f -c /etc/acpi\n"
                    "::respawn:/bin/uevent /etc/plugged\n"
                    "ttyS0::respawn:-/bin/sh\ntty1::respawn:/bin/getty 0 tty1\n::ctrlaltdel:/bin/reboot\n"},
    {"etc/acpi", nullptr, 0755},
    {"etc/acpi/PWRF", nullptr, 0755},
    {"etc/acpi/PWRF/00000080", "#!/bin/sh\npoweroff\n", 0755},
    {"etc/plugged",
     "#!/bin/sh\n"
     "[ \"$ACTION/$SUBSYSTEM\" = add/net ] && /etc/card \"$INTERFACE\"\n",
     0755},
    {"etc/card",
     "#!/bin/sh\n"
     "[ \"$1\" = lo ] && exit\n"
     "ip link set \"$1\" up\n"
     "udhcpc -i \"$1\" -x hostname:\"$(hostname)\" -S -b -t 30 -T 1 -A 3 -s /etc/lease >/dev/null 2>&1 &\n",
     0755},
    {"etc/lease",
     "#!/bin/sh\n"
     "case $1 in\n"
     "deconfig) ip -4 addr flush dev \"$interface\"; ip link set \"$interface\" up;;\n"
     "bound|renew)\n"
     "  ip addr replace \"$ip/${mask:-24}\" dev \"$interface\"\n"
     "  for gateway in $router; do ip route replace default via \"$gateway\" dev \"$interface\"; done\n"
     "  for server in $dns; do echo \"nameserver $server\"; done >/etc/resolv.conf;;\n"
     "esac\n",
     0755},
    {"etc/boot",
     "#!/bin/sh\n"
     "hostname busybox\n"
     "ip link set lo up\n"
     "for disk in /dev/sda /dev/vda /dev/nvme0n1; do\n"
     "  [ -b $disk ] && mount -t vfat -o sync $disk /boot && break\n"
     "done\n"
     "for drive in /dev/sr*; do\n"
     "  [ -b $drive ] || continue\n"
     "  mount -t iso9660 -o ro $drive /config && [ -e /config/meta-data ] && break\n"
     "  umount /config\n"
     "done\n"
     "[ -e /config/meta-data ] && hostname \"$(sed -n 's/^local-hostname: //p' /config/meta-data)\"\n"
     "for card in /sys/class/net/*; do /etc/card \"${card##*/}\"; done\n"
     "[ ! -x /config/start ] || /config/start &\n"
     "echo \"ready after $(cut -d' ' -f1 /proc/uptime) s\" >/dev/ttyS0\n",
     0755},
    {"init",
     "#!/bin/sh\n"
     "mount -t proc proc /proc\nmount -t sysfs sys /sys\nmount -t devtmpfs dev /dev\n"
     "mkdir -p /dev/pts /dev/shm\nmount -t devpts devpts /dev/pts\nmount -t tmpfs run /run\n"
     "while read module; do insmod \"/lib/$module\"; done </lib/modules\n"
     "exec /bin/init\n",
     0755},
};

constexpr const char* loader_config =
    "set timeout=0\n"
    "menuentry busybox {\n"
    "  linux ($root)/vmlinuz console=tty0 console=ttyS0 quiet mitigations=off nokaslr no_timer_check\n"
    "  initrd ($root)/initrd\n"
    "}\n";

std::string metadata_of(int64_t made, const std::string& kernel) {
  return "architecture: x86_64\ncreation_date: " + std::to_string(made) +
         "\nproperties:\n"
         "  architecture: x86_64\n"
         "  description: BusyBox with Linux " +
         kernel +
         "\n"
         "  name: busybox\n"
         "  os: BusyBox\n"
         "  release: \"" +
         kernel + "\"\n";
}

/// "  Depends: linux-image-6.1.0-40-cloud-amd64" gives that package.
outcome<std::string> newest_kernel(const kitchen& in) {
  auto depends = run_tool(in, {"apt-cache", "depends", kernels}, "apt");
  if (!depends) return depends;
  std::istringstream lines{*depends};
  for (std::string line; std::getline(lines, line);)
    if (auto at = line.find("Depends: linux-image-"); at != line.npos) return line.substr(at + 9);
  return fail(fault::unsupported, "The package list has no " + std::string{kernels});
}

outcome<std::string> fetch(const kitchen& in, const std::string& kernel) {
  auto folder = in.folder + "/packages", unpacked = in.folder + "/unpacked";
  fs::create_directories(folder);
  fs::permissions(in.folder, fs::perms{0711}); // apt downloads as its own user
  fs::permissions(folder, fs::perms{0777});
  std::vector<std::string> words{"env", "-C", folder, "apt-get", "download", kernel};
  words.insert(words.end(), std::begin(loaders), std::end(loaders));
  if (auto done = run_tool(in, std::move(words), "apt"); !done) return done;
  for (auto& package : fs::directory_iterator{folder})
    if (auto done = run_tool(in, {"dpkg-deb", "-x", package.path(), unpacked}, "dpkg"); !done) return done;
  return unpacked;
}

// As paths below `root`, each behind what it needs.
outcome<std::vector<std::string>> module_files(const kitchen& in, const std::string& root, const std::string& version) {
  if (auto done = run_tool(in, {"depmod", "-b", root, version}, "kmod"); !done) return tl::unexpected{done.error()};
  std::vector<std::string> out;
  for (auto* module : modules) {
    auto shown = run_tool(in, {"modprobe", "-S", version, "-d", root, "--show-depends", module}, "kmod");
    if (!shown) return tl::unexpected{shown.error()};
    std::istringstream lines{*shown};
    for (std::string word, path; lines >> word >> path; lines.ignore(4096, '\n'))
      if (word == "insmod" && std::find(out.begin(), out.end(), path) == out.end()) out.push_back(path);
  }
  return out;
}

outcome<void> copy(tar_file& into, const std::string& name, const std::string& path, int mode) {
  unique_fd file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (!file) return fail_errno(errno, "Cannot open " + path);
  return into.copy(name, file.get(), mode);
}

outcome<void> write_root(const kitchen& in, const std::string& path, int64_t made,
                         const std::vector<std::string>& kernel_modules) {
  auto tar = tar_file::create(path, tar_file::compression::gzip, made, tar_file::layout::cpio);
  auto applets = run_tool(in, {"/bin/busybox", "--list"}, "busybox-static");
  if (!tar) return tl::unexpected{tar.error()};
  if (!applets) return tl::unexpected{applets.error()};
  outcome<void> done;
  for (auto& row : tree)
    if (done) done = row.content ? tar->file(row.name, row.content, row.mode) : tar->folder(row.name, row.mode);
  if (done) done = copy(*tar, "bin/busybox", "/bin/busybox", 0755);
  std::istringstream names{*applets};
  for (std::string name; done && std::getline(names, name);)
    if (name != "busybox" && name.find('/') == name.npos) done = tar->link("bin/" + name, "/bin/busybox");
  std::string order;
  for (auto& module : kernel_modules) {
    auto name = fs::path{module}.filename().string();
    order += name + '\n';
    if (done) done = copy(*tar, "lib/" + name, module, 0644);
  }
  if (done) done = tar->file("lib/modules", order);
  return done ? tar->finish() : done;
}

} // namespace

outcome<image_files> cook_busybox_machine(const kitchen& in) {
  if (machine_architecture() != "x86_64")
    return fail(fault::unsupported, "This recipe is for machines of the architecture x86_64");
  in.shown.step("fetching a kernel");
  auto kernel = newest_kernel(in);
  if (!kernel) return tl::unexpected{kernel.error()};
  auto unpacked = fetch(in, *kernel);
  if (!unpacked) return tl::unexpected{unpacked.error()};
  in.shown.step("making a disk");
  auto version = kernel->substr(std::string{"linux-image-"}.size());
  struct stat facts {};
  if (::stat((*unpacked + "/boot/vmlinuz-" + version).c_str(), &facts) != 0)
    return fail_errno(errno, "The package " + *kernel + " has no kernel");
  auto found = module_files(in, *unpacked, version);
  if (!found) return tl::unexpected{found.error()};
  if (auto done = write_root(in, in.folder + "/initrd", facts.st_mtime, *found); !done)
    return tl::unexpected{done.error()};
  auto raw = in.folder + "/disk.raw";
  image_files made{.metadata = in.folder + "/metadata.tar.gz", .rootfs = in.folder + "/disk.qcow2"};
  const std::pair<std::string, std::string> files[] = {{*unpacked + "/boot/vmlinuz-" + version, "::/vmlinuz"},
                                                       {in.folder + "/initrd", "::/initrd"}};
  if (auto done = make_boot_disk(in, raw, disk_kib, *unpacked, loader_config, files); !done)
    return tl::unexpected{done.error()};
  auto packed = run_tool(in, {"qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-c", raw, made.rootfs}, "qemu-utils");
  if (!packed) return tl::unexpected{packed.error()};
  auto tar = tar_file::create(made.metadata, tar_file::compression::gzip, facts.st_mtime);
  if (!tar) return tl::unexpected{tar.error()};
  auto written =
      tar->file("metadata.yaml", metadata_of(facts.st_mtime, version)).and_then([&] { return tar->finish(); });
  if (!written) return tl::unexpected{written.error()};
  return made;
}

} // namespace troupe
