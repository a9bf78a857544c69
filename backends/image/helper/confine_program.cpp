#include "backends/image/helper/confine_program.hpp"

#include "backends/image/helper/confine.hpp"
#include "backends/image/helper/confine_parts.hpp"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

#ifndef MOUNT_ATTR_NOSYMFOLLOW
#define MOUNT_ATTR_NOSYMFOLLOW 0x00200000
#endif

namespace troupe::unpack {
namespace {

constexpr uid_t converter_user = 4294967042; // far above any range that is ever mapped or handed out
constexpr gid_t converter_group = 0;
constexpr rlim_t memory_max = rlim_t{2} << 30;
constexpr rlim_t threads_max = 512; // of all conversions together
constexpr uint64_t of_system = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
constexpr uint64_t of_data = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NOSYMFOLLOW;

/// What becomes visible below the new root.
struct part {
  const char* name;
  unique_fd mount = {};
  std::string link = {}; // instead
};

outcome<std::string> link_text(const char* path) {
  std::string text(256, '\0');
  auto size = readlink(path, text.data(), text.size());
  if (size <= 0) return fail_errno(errno, std::string{"Cannot confine the helper: "} + path);
  text.resize(static_cast<size_t>(size));
  return text;
}

/// Directories are mounted, links (of a merged /usr) made again.
outcome<void> add_libraries(std::vector<part>& parts) {
  for (const char* name : {"usr/lib", "usr/lib64", "lib", "lib64"}) {
    auto path = std::string{"/"} + name;
    struct stat found {};
    if (lstat(path.c_str(), &found) != 0) continue;
    if (S_ISLNK(found.st_mode)) {
      auto text = link_text(path.c_str());
      if (!text) return tl::unexpected{text.error()};
      parts.push_back({name, {}, std::move(*text)});
    } else {
      auto mount = copy_of(AT_FDCWD, path.c_str(), of_system);
      if (!mount) return tl::unexpected{mount.error()};
      parts.push_back({name, std::move(*mount)});
    }
  }
  return {};
}

outcome<std::vector<part>> all_parts(const unique_fd& source, const unique_fd& target) {
  std::vector<part> parts;
  if (auto ok = add_libraries(parts); !ok) return tl::unexpected{ok.error()};
  auto program = copy_of(AT_FDCWD, converter_path, of_system);
  if (!program)
    return access(converter_path, X_OK) == 0
               ? tl::unexpected{program.error()}
               : fail(fault::unsupported, "Disks cannot be converted: qemu-img is not installed on this host");
  parts.push_back({converter_path + 1, std::move(*program)});
  auto null = copy_of(AT_FDCWD, "/dev/null", MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
  if (!null) return tl::unexpected{null.error()};
  parts.push_back({"dev/null", std::move(*null)});
  auto from = copy_of(source.get(), "", of_data | MOUNT_ATTR_RDONLY);
  auto to = copy_of(target.get(), "", of_data);
  if (!from) return tl::unexpected{from.error()};
  if (!to) return tl::unexpected{to.error()};
  parts.push_back({source_path + 1, std::move(*from)});
  parts.push_back({target_path + 1, std::move(*to)});
  return parts;
}

/// In the working directory.
outcome<void> show(const part& one) {
  if (!one.link.empty()) return check(symlinkat(one.link.c_str(), AT_FDCWD, one.name) == 0, one.name);
  struct stat facts {};
  if (fstat(one.mount.get(), &facts) != 0) return check(false, one.name);
  bool made = S_ISDIR(facts.st_mode) ? mkdirat(AT_FDCWD, one.name, 0755) == 0
                                     : mknodat(AT_FDCWD, one.name, S_IFREG | 0444, 0) == 0;
  return check(made, one.name).and_then([&] {
    return check(move_mount(one.mount.get(), "", AT_FDCWD, one.name, MOVE_MOUNT_F_EMPTY_PATH) == 0, one.name);
  });
}

outcome<void> show_all(const std::vector<part>& parts) {
  for (const char* directory : {"usr", "usr/bin", "dev"})
    if (mkdirat(AT_FDCWD, directory, 0755) != 0) return check(false, directory);
  for (auto& each : parts)
    if (auto ok = show(each); !ok) return ok;
  return {};
}

} // namespace

outcome<void> confine_converter(unique_fd source, unique_fd target, uint64_t bytes_max) {
  umask(0);
  const pid_t parent = getppid();
  auto root = empty_root("64k", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
  if (!root) return tl::unexpected{root.error()};
  auto parts = all_parts(source, target); // can be made in their own mount namespace only: ours, still
  if (!parts) return tl::unexpected{parts.error()};
  if (auto ok = enter_root(*root, [&] { return show_all(*parts); }); !ok) return ok;
  parts->clear();
  root->reset();
  source.reset(); // ways back into the host's tree
  target.reset();
  return limit({.bytes = bytes_max, .files = 256, .memory = memory_max, .processes = threads_max})
      .and_then([] { return drop_rights(converter_user, converter_group, {}); })
      .and_then([&] { return die_with(parent); }) // a change of identity clears the death signal
      .and_then([] { return sanitized ? outcome<void>{} : allow_program_calls_only(); });
}

} // namespace troupe::unpack
