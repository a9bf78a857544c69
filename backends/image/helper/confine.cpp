#include "backends/image/helper/confine.hpp"

#include "backends/image/helper/confine_parts.hpp"

#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <linux/capability.h>
#include <string>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace troupe::unpack {
namespace {

constexpr uid_t nobody_else = 4294967040;              // far above any range that is ever mapped or handed out
constexpr rlim_t files_max = 512, files_of_a_tree = 4; // one is open for each directory on the way down
constexpr uint64_t harmless = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;

outcome<unique_fd> copy_tree_root(const unique_fd& directory, tree_access how) {
  return copy_of(directory.get(), "", how == tree_access::read ? harmless | MOUNT_ATTR_RDONLY : harmless);
}

/// A tree as it becomes visible in the new root, by number.
struct copied_tree {
  std::string name; // "0"
  unique_fd dir, lower;
};

outcome<std::vector<copied_tree>> copies_of(const std::vector<visible_tree>& trees, tree_access how) {
  std::vector<copied_tree> out;
  for (auto& each : trees) {
    auto dir = copy_tree_root(each.dir, each.only_read ? tree_access::read : how);
    if (!dir) return tl::unexpected{dir.error()};
    auto lower = each.lower ? copy_tree_root(each.lower, how) : unique_fd{};
    if (!lower) return tl::unexpected{lower.error()};
    out.push_back({std::to_string(out.size()), std::move(*dir), std::move(*lower)});
  }
  return out;
}

outcome<void> attach(const unique_fd& tree, const std::string& name) {
  return check(mkdirat(AT_FDCWD, name.c_str(), 0700) == 0, "mkdir").and_then([&] {
    return check(move_mount(tree.get(), "", AT_FDCWD, name.c_str(), MOVE_MOUNT_F_EMPTY_PATH) == 0, "move_mount");
  });
}

/// In the working directory. Of an overlay the two layers vanish behind the whole.
outcome<void> show(const copied_tree& tree) {
  if (!tree.lower) return attach(tree.dir, tree.name);
  auto upper = tree.name + "u", lower = tree.name + "l";
  auto options = "lowerdir=" + upper + ":" + lower;
  return attach(tree.dir, upper)
      .and_then([&] { return attach(tree.lower, lower); })
      .and_then([&] { return check(mkdirat(AT_FDCWD, tree.name.c_str(), 0700) == 0, "mkdir"); })
      .and_then([&] {
        return check(mount("overlay", tree.name.c_str(), "overlay", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
                           options.c_str()) == 0,
                     "overlay");
      })
      .and_then([&] { return check(umount2(upper.c_str(), MNT_DETACH) == 0, "umount"); })
      .and_then([&] { return check(umount2(lower.c_str(), MNT_DETACH) == 0, "umount"); });
}

outcome<void> show_all(const std::vector<copied_tree>& trees) {
  for (auto& each : trees)
    if (auto ok = show(each); !ok) return ok;
  return {};
}

outcome<std::vector<unique_fd>> open_all(const std::vector<copied_tree>& trees) {
  std::vector<unique_fd> out;
  for (auto& each : trees) {
    out.emplace_back(open(("/" + each.name).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!out.back()) return fail_errno(errno, "Cannot confine the helper: open");
  }
  return out;
}

outcome<std::vector<unique_fd>> show_trees(const std::vector<visible_tree>& trees, tree_access how) {
  auto root = empty_root("4k", harmless);
  if (!root) return tl::unexpected{root.error()};
  auto copies = copies_of(trees, how); // can be made in their own mount namespace only: ours, still
  if (!copies) return tl::unexpected{copies.error()};
  if (auto ok = enter_root(*root, [&] { return show_all(*copies); }); !ok) return tl::unexpected{ok.error()};
  return open_all(*copies);
}

outcome<void> drop_rights_for(tree_access how) {
  switch (how) {
    case tree_access::read:
      return drop_rights(nobody_else, nobody_else, {CAP_DAC_READ_SEARCH});
    case tree_access::write:
      return drop_rights(nobody_else, nobody_else, {CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID, CAP_SETFCAP});
    case tree_access::receive:
      break;
  }
  return drop_rights(nobody_else, nobody_else,
                     {CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID, CAP_SETFCAP, CAP_MKNOD});
}

} // namespace

outcome<void> die_with(pid_t parent) {
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) return check(false, "death signal");
  if (getppid() != parent) return fail(fault::cancelled, "The daemon is gone");
  return {};
}

outcome<std::vector<unique_fd>> confine(std::vector<visible_tree> trees, tree_access how, uint64_t bytes_max) {
  umask(0);
  const pid_t parent = getppid();
  auto roots = show_trees(trees, how);
  if (!roots) return roots;
  auto count = trees.size();
  trees.clear(); // ways back into the host's tree
  auto ok = limit({.bytes = bytes_max, .files = files_max + files_of_a_tree * count})
                .and_then([&] { return drop_rights_for(how); })
                .and_then([&] { return die_with(parent); }) // a change of identity clears the death signal
                .and_then([&] { return sanitized ? outcome<void>{} : allow_file_calls_only(how); });
  if (!ok) return tl::unexpected{ok.error()};
  return roots;
}

} // namespace troupe::unpack
