#include "cli/child.hpp"
#include "cli/image/recipe.hpp"
#include "cli/interrupt.hpp"
#include "cli/progress.hpp"
#include "cli/tar_file.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <elf.h>
#include <fcntl.h>
#include <set>
#include <sstream>
#include <sys/stat.h>
#include <unistd.h>

namespace troupe {
namespace {

constexpr const char* source = "/bin/busybox";

struct entry {
  const char* name;
  const char* content;
  int mode = 0644;
  int gid = 0;
};

constexpr entry folders[] = {
    {"templates", nullptr, 0755},
    {"rootfs", nullptr, 0755},
    {"rootfs/bin", nullptr, 0755},
    {"rootfs/dev", nullptr, 0755},
    {"rootfs/etc", nullptr, 0755},
    {"rootfs/etc/init.d", nullptr, 0755},
    {"rootfs/home", nullptr, 0755},
    {"rootfs/mnt", nullptr, 0755},
    {"rootfs/proc", nullptr, 0555},
    {"rootfs/root", nullptr, 0700},
    {"rootfs/run", nullptr, 0755},
    {"rootfs/sbin", nullptr, 0755},
    {"rootfs/sys", nullptr, 0555},
    {"rootfs/tmp", nullptr, 01777},
    {"rootfs/usr", nullptr, 0755},
    {"rootfs/usr/bin", nullptr, 0755},
    {"rootfs/usr/sbin", nullptr, 0755},
    {"rootfs/usr/share", nullptr, 0755},
    {"rootfs/usr/share/udhcpc", nullptr, 0755},
    {"rootfs/var", nullptr, 0755},
    {"rootfs/var/log", nullptr, 0755},
};

// The shell scripts run inside the container, by its own init.
constexpr entry files[] = {
    {"templates/hostname.tpl", "{{ container.name }}\n"},
    {"templates/hosts.tpl", "127.0.0.1 localhost\n127.0.1.1 {{ container.name }}\n::1 localhost ip6-localhost\n"},
    {"rootfs/etc/passwd",
     "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"},
    {"rootfs/etc/group", "root:x:0:\nshadow:x:42:\nuser:x:1000:\nnogroup:x:65534:\n"},
    {"rootfs/etc/shadow", "root:*:19000:0:99999:7:::\nuser:*:19000:0:99999:7:::\nnobody:*:19000:0:99999:7:::\n", 0640,
     42},
    {"rootfs/etc/os-release", "ID=busybox\nNAME=BusyBox\nPRETTY_NAME=BusyBox\n"},
    {"rootfs/etc/hostname", "busybox\n"},
    {"rootfs/etc/hosts", "127.0.0.1 localhost\n::1 localhost ip6-localhost\n"},
    {"rootfs/etc/resolv.conf", ""},
    {"rootfs/etc/inittab", "::sysinit:/etc/init.d/rcS\n::askfirst:-/bin/sh\n::ctrlaltdel:/sbin/reboot\n"},
    {"rootfs/etc/init.d/rcS",
     "#!/bin/sh\n"
     "hostname -F /etc/hostname\n"
     "ip link set lo up\n"
     "for path in /sys/class/net/eth*; do\n"
     "  card=${path##*/}\n"
     "  ip link set \"$card\" up || continue\n"
     "  udhcpc -i \"$card\" -x hostname:\"$(hostname)\" -S -b -t 10 -T 1 -A 3 -s /usr/share/udhcpc/default.script "
     ">/dev/null 2>&1 &\n"
     "done\n",
     0755},
    {"rootfs/usr/share/udhcpc/default.script",
     "#!/bin/sh\n"
     "case $1 in\n"
     "deconfig) ip -4 addr flush dev \"$interface\"; ip link set \"$interface\" up;;\n"
     "bound|renew)\n"
     "  ip addr replace \"$ip/${mask:-24}\" dev \"$interface\"\n"
     "  for gateway in $router; do ip route replace default via \"$gateway\" dev \"$interface\"; done\n"
     "  {\n"
     "    [ -z \"$domain\" ] || echo \"search $domain\"\n"
     "    for server in $dns; do echo \"nameserver $server\"; done\n"
     "  } >/etc/resolv.conf;;\n"
     "esac\n",
     0755},
};

/// Commands that scripts expect in /sbin; all others are in /bin.
const std::set<std::string, std::less<>> in_sbin = {
    "getty",    "halt",   "ifconfig", "ifdown",  "ifup",   "init",        "ip",      "klogd",  "pivot_root",
    "poweroff", "reboot", "route",    "swapoff", "swapon", "switch_root", "syslogd", "udhcpc",
};

/// A program that needs no other file: no interpreter in its ELF header.
outcome<bool> is_static(int fd) {
  Elf64_Ehdr head{};
  if (::pread(fd, &head, sizeof head, 0) != sizeof head || std::memcmp(head.e_ident, ELFMAG, SELFMAG) != 0)
    return fail(fault::unsupported, "/bin/busybox is not a program");
  if (head.e_ident[EI_CLASS] != ELFCLASS64) return fail(fault::unsupported, "/bin/busybox is not a 64-bit program");
  for (unsigned i = 0; i < head.e_phnum; ++i) {
    Elf64_Phdr part{};
    auto at = static_cast<off_t>(head.e_phoff + static_cast<uint64_t>(i) * head.e_phentsize);
    if (::pread(fd, &part, sizeof part, at) != sizeof part) return fail(fault::unsupported, "/bin/busybox is damaged");
    if (part.p_type == PT_INTERP) return false;
  }
  return true;
}

std::string metadata_of(int64_t made, const std::string& version) {
  return "architecture: " + machine_architecture() + "\ncreation_date: " + std::to_string(made) +
         "\nproperties:\n"
         "  architecture: " +
         machine_architecture() +
         "\n"
         "  description: BusyBox " +
         version +
         "\n"
         "  name: busybox\n"
         "  os: BusyBox\n"
         "  release: \"" +
         version +
         "\"\n"
         "templates:\n"
         "  /etc/hostname:\n    when: [create, copy]\n    template: hostname.tpl\n"
         "  /etc/hosts:\n    when: [create, copy]\n    template: hosts.tpl\n";
}

/// "BusyBox v1.35.0 (Debian …) multi-call binary." gives "1.35.0".
std::string version_in(const std::string& text) {
  auto start = text.find(" v");
  if (start == std::string::npos) return "unknown";
  auto version = text.substr(start + 2, text.find_first_not_of("0123456789.", start + 2) - start - 2);
  return version.empty() ? "unknown" : version;
}

outcome<void> write_links(tar_file& tar, const std::string& applets) {
  std::istringstream lines{applets};
  std::set<std::string> names; // sorted: the order is part of the content
  for (std::string name; std::getline(lines, name);)
    if (name != "busybox" && !name.empty() && name.find('/') == std::string::npos) names.insert(name);
  for (auto& name : names)
    if (auto done = tar.link("rootfs/" + std::string{in_sbin.contains(name) ? "sbin/" : "bin/"} + name, "/bin/busybox");
        !done)
      return done;
  return {};
}

outcome<void> write_image(tar_file& tar, const std::string& metadata, const std::string& applets, int busybox) {
  if (auto done = tar.file("metadata.yaml", metadata); !done) return done;
  for (auto& row : folders)
    if (auto done = tar.folder(row.name, row.mode); !done) return done;
  for (auto& row : files)
    if (auto done = tar.file(row.name, row.content, row.mode, row.gid); !done) return done;
  if (auto done = tar.copy("rootfs/bin/busybox", busybox, 0755); !done) return done;
  if (auto done = write_links(tar, applets); !done) return done;
  return tar.finish();
}

} // namespace

outcome<image_files> cook_busybox(const kitchen& in) {
  in.shown.step("packing /bin/busybox");
  unique_fd busybox{::open(source, O_RDONLY | O_CLOEXEC)};
  if (!busybox) return fail(fault::unsupported, "There is no /bin/busybox: install the package busybox-static");
  auto alone = is_static(busybox.get());
  if (!alone) return tl::unexpected{alone.error()};
  if (!*alone)
    return fail(fault::unsupported, "/bin/busybox is not statically linked: install the package busybox-static");
  auto applets = run_child({.arguments = {source, "--list"}}, in.stop);
  if (!applets) return tl::unexpected{applets.error()};
  auto banner = run_child({.arguments = {source}}, in.stop);
  if (!banner) return tl::unexpected{banner.error()};
  struct stat facts {};
  if (::fstat(busybox.get(), &facts) != 0) return fail_errno(errno, "Cannot look at /bin/busybox");
  image_files made{.metadata = in.folder + "/busybox.tar.gz", .rootfs = {}};
  auto tar = tar_file::create(made.metadata, tar_file::compression::gzip, facts.st_mtime);
  if (!tar) return tl::unexpected{tar.error()};
  auto written =
      write_image(*tar, metadata_of(facts.st_mtime, version_in(banner->output)), applets->output, busybox.get());
  if (!written) return tl::unexpected{written.error()};
  return made;
}

} // namespace troupe
