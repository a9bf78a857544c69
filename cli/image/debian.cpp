#include "cli/image/debian.hpp"
#include "cli/child.hpp"
#include "cli/interrupt.hpp"
#include "cli/progress.hpp"
#include "cli/tar_file.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <ctime>
#include <sys/stat.h>

namespace troupe {
namespace {

constexpr const char* release = "bookworm";
constexpr const char* fixed_arguments[] = {
    "mmdebstrap",
    "--variant=minbase",
    "--mode=root",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/info/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
    "--dpkgopt=path-include=/usr/share/doc/*/copyright",
};

constexpr const char* packages_of_all =
    "systemd-sysv,systemd-resolved,dbus,iproute2,iputils-ping,netbase,procps,ca-certificates,less,vim-tiny";
constexpr const char* no_unit = "/dev/null";

constexpr overlay_entry overlay[] = {
    {"etc/hostname", "debian\n"},
    {"etc/machine-id", ""}, // filled at first boot, so that no two containers share one
    {"etc/resolv.conf", nullptr, "../run/systemd/resolve/stub-resolv.conf"},
    // UseDomains: names of other containers have no dot, and are completed with the bridge's domain.
    {"etc/systemd/network/eth0.network",
     "[Match]\nName=eth0\n\n[Network]\nDHCP=yes\nLLMNR=no\n\n[DHCPv4]\nUseDomains=yes\n\n[DHCPv6]\nUseDomains=yes\n\n"
     "[IPv6AcceptRA]\nUseDomains=yes\n"},
    {"etc/systemd/system/multi-user.target.wants/systemd-networkd.service", nullptr,
     "/lib/systemd/system/systemd-networkd.service"},
    {"etc/systemd/system/sockets.target.wants/systemd-networkd.socket", nullptr,
     "/lib/systemd/system/systemd-networkd.socket"},
    {"etc/systemd/system/dbus-org.freedesktop.network1.service", nullptr,
     "/lib/systemd/system/systemd-networkd.service"},
    // What an unprivileged container may not do, or what only costs start-up time there.
    {"etc/systemd/system/sys-kernel-debug.mount", nullptr, no_unit},
    {"etc/systemd/system/sys-kernel-tracing.mount", nullptr, no_unit},
    {"etc/systemd/system/sys-kernel-config.mount", nullptr, no_unit},
    {"etc/systemd/system/systemd-networkd-wait-online.service", nullptr, no_unit},
    {"etc/systemd/system/apt-daily.timer", nullptr, no_unit},
    {"etc/systemd/system/apt-daily-upgrade.timer", nullptr, no_unit},
    {"etc/systemd/system/e2scrub_all.timer", nullptr, no_unit},
    {"etc/systemd/system/e2scrub_reap.service", nullptr, no_unit},
    {"etc/systemd/system/fstrim.timer", nullptr, no_unit},
};

constexpr overlay_entry templates[] = {
    {"templates/hostname.tpl", "{{ container.name }}\n"},
    {"templates/hosts.tpl",
     "127.0.0.1 localhost\n127.0.1.1 {{ container.name }}\n::1 localhost ip6-localhost ip6-loopback\n"
     "ff02::1 ip6-allnodes\nff02::2 ip6-allrouters\n"},
};

std::string metadata_of(int64_t made, bool machine) {
  char serial[16];
  time_t when = made;
  tm parts{};
  std::strftime(serial, sizeof serial, "%Y%m%d", gmtime_r(&when, &parts));
  return "architecture: " + machine_architecture() + "\ncreation_date: " + std::to_string(made) +
         "\nproperties:\n"
         "  architecture: " +
         machine_architecture() +
         "\n"
         "  description: Debian 12 (bookworm) " +
         serial +
         "\n"
         "  name: debian-12\n"
         "  os: Debian\n"
         "  release: bookworm\n"
         "  serial: \"" +
         serial +
         "\"\n"
         "  variant: minimal\n"
         "  version: \"12\"\n" +
         (machine ? ""
                  : "templates:\n"
                    "  /etc/hostname:\n    when: [create, copy]\n    template: hostname.tpl\n"
                    "  /etc/hosts:\n    when: [create, copy]\n    template: hosts.tpl\n");
}

outcome<void> write_entries(tar_file& tar, std::span<const overlay_entry> rows) {
  for (auto& row : rows) {
    auto done = row.target ? tar.link(row.name, row.target) : tar.file(row.name, row.content, row.mode);
    if (!done) return done;
  }
  return {};
}

outcome<void> write_overlay(const std::string& path, int64_t made, std::span<const overlay_entry> more) {
  auto tar = tar_file::create(path, tar_file::compression::none, made);
  if (!tar) return tl::unexpected{tar.error()};
  if (auto done = write_entries(*tar, overlay); !done) return done;
  if (auto done = write_entries(*tar, more); !done) return done;
  return tar->finish();
}

std::vector<std::string> arguments_of(const kitchen& in, const std::string& packages, const std::string& overlay_path,
                                      const std::string& target) {
  std::vector<std::string> out{std::begin(fixed_arguments), std::end(fixed_arguments)};
  std::string include{"--include="};
  include += packages_of_all;
  if (!packages.empty()) include += ',';
  out.push_back(include + packages);
  out.push_back("--customize-hook=tar-in " + overlay_path + " /");
  out.emplace_back(release);
  out.push_back(target);
  if (!in.mirror.empty()) out.push_back(in.mirror);
  return out;
}

/// mmdebstrap splits a hook's words as a shell would, so a path in one must be plain.
bool is_plain(const std::string& path) {
  return std::all_of(path.begin(), path.end(),
                     [](unsigned char c) { return std::isalnum(c) || std::strchr("/._-+", c); });
}

} // namespace

int64_t debian_serial() {
  using namespace std::chrono;
  return duration_cast<seconds>(floor<days>(system_clock::now()).time_since_epoch()).count();
}

outcome<void> write_debian_metadata(const std::string& path, int64_t made, bool machine) {
  auto tar = tar_file::create(path, tar_file::compression::gzip, made);
  if (!tar) return tl::unexpected{tar.error()};
  if (auto done = tar->file("metadata.yaml", metadata_of(made, machine)); !done) return done;
  if (machine) return tar->finish();
  if (auto done = tar->folder("templates"); !done) return done;
  if (auto done = write_entries(*tar, templates); !done) return done;
  return tar->finish();
}

outcome<void> bootstrap_debian(const kitchen& in, int64_t made, const std::string& target, const std::string& packages,
                               std::span<const overlay_entry> more) {
  if (!is_plain(in.folder)) return fail(fault::invalid, "TMPDIR must be a path without special characters");
  if (in.mirror.starts_with('-')) return fail(fault::invalid, "The mirror must be a URL");
  auto overlay_path = in.folder + "/overlay.tar";
  if (auto done = write_overlay(overlay_path, made, more); !done) return done;
  // apt downloads as its own user, who must be able to walk to the folder that mmdebstrap makes in here.
  ::chmod(in.folder.c_str(), 0711);
  in.shown.step("fetching and unpacking packages");
  child_request request{.arguments = arguments_of(in, packages, overlay_path, target)};
  request.environment = {"SOURCE_DATE_EPOCH=" + std::to_string(made), "TMPDIR=" + in.folder, "LC_ALL=C"};
  request.on_error_line = [&in](const std::string& line) {
    if (line.starts_with("I: ")) in.shown.step(line.substr(3));
  };
  auto result = run_child(request, in.stop);
  if (!result && result.error().code == fault::not_found)
    return fail(fault::unsupported, "The program mmdebstrap is missing: install the package mmdebstrap");
  if (!result) return tl::unexpected{result.error()};
  if (result->exit_code != 0)
    return fail(fault::backend_failed,
                "mmdebstrap ended with exit code " + std::to_string(result->exit_code) + ":\n" + result->last_errors);
  return {};
}

outcome<image_files> cook_debian12(const kitchen& in) {
  auto made = debian_serial();
  image_files files{.metadata = in.folder + "/metadata.tar.gz", .rootfs = in.folder + "/rootfs.tar.zst"};
  if (auto done = write_debian_metadata(files.metadata, made, false); !done) return tl::unexpected{done.error()};
  if (auto done = bootstrap_debian(in, made, files.rootfs, "", {}); !done) return tl::unexpected{done.error()};
  return files;
}

} // namespace troupe
