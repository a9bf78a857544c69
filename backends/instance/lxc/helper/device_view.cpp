#include "backends/instance/lxc/helper/device_view.hpp"

#include "backends/instance/lxc/helper/root_view.hpp"
#include "messages/config_map.hpp"

#include <cerrno>
#include <fcntl.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

namespace troupe::lxc {
namespace {

struct propagation_row {
  std::string_view word;
  uint64_t flag;
  bool recursive;
};
constexpr propagation_row propagations[] = {
    {"private", MS_PRIVATE, false},       {"shared", MS_SHARED, false},         {"slave", MS_SLAVE, false},
    {"unbindable", MS_UNBINDABLE, false}, {"rprivate", MS_PRIVATE, true},       {"rshared", MS_SHARED, true},
    {"rslave", MS_SLAVE, true},           {"runbindable", MS_UNBINDABLE, true},
};

} // namespace

unique_fd open_source(const std::string& source, const std::string& beneath) {
  if (beneath.empty()) return unique_fd{::open(source.c_str(), O_PATH | O_CLOEXEC)};
  unique_fd folder{::open(beneath.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
  if (!folder || !source.starts_with(beneath)) return {};
  auto rest = source.substr(beneath.size());
  rest.erase(0, rest.find_first_not_of('/'));
  open_how how{};
  how.flags = O_PATH | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  return unique_fd{
      static_cast<int>(::syscall(SYS_openat2, folder.get(), rest.empty() ? "." : rest.c_str(), &how, sizeof how))};
}

namespace {

outcome<void> set_attributes(int mount, mount_attr attributes, bool recursive, const char* what) {
  unsigned flags = AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0);
  if (::syscall(SYS_mount_setattr, mount, "", flags, &attributes, sizeof attributes) == 0) return {};
  return fail(fault::unsupported, std::string{"The kernel cannot "} + what + " this mount");
}

outcome<void> set_propagation(int mount, std::string_view word, bool mapped) {
  if (word.empty()) word = "private";
  for (auto& row : propagations) {
    if (row.word != word) continue;
    mount_attr attributes{};
    // What an instance mounts below must not appear on the host.
    if (row.flag == MS_SHARED && mapped) {
      attributes.propagation = MS_SLAVE;
      if (auto done = set_attributes(mount, attributes, row.recursive, "propagate"); !done) return done;
    }
    attributes.propagation = row.flag;
    return set_attributes(mount, attributes, row.recursive, "propagate");
  }
  return fail(fault::invalid, "Unknown propagation " + std::string{word});
}

outcome<void> shift(int mount, bool recursive, const id_maps& ids) {
  auto map = open_user_namespace(ids);
  if (!map) return tl::unexpected{map.error()};
  mount_attr attributes{};
  attributes.attr_set = MOUNT_ATTR_IDMAP;
  attributes.userns_fd = static_cast<uint64_t>(map->get());
  return set_attributes(mount, attributes, recursive, "map the ids of");
}

outcome<device_tree> open_tmpfs(const std::string& size, uint32_t owner) {
  unique_fd context{static_cast<int>(::syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC))};
  auto id = std::to_string(owner);
  auto set = [&](const char* key, const std::string& value) {
    return ::syscall(SYS_fsconfig, context.get(), FSCONFIG_SET_STRING, key, value.c_str(), 0) == 0;
  };
  bool good = context && set("mode", "0755") && set("uid", id) && set("gid", id) && (size.empty() || set("size", size));
  good = good && ::syscall(SYS_fsconfig, context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) == 0;
  unique_fd mount{good ? static_cast<int>(::syscall(SYS_fsmount, context.get(), FSMOUNT_CLOEXEC,
                                                    MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV))
                       : -1};
  if (!mount) return fail_errno(errno, "Cannot make a tmpfs");
  return device_tree{std::move(mount), true};
}

outcome<device_tree> clone_mount(int source, bool recursive) {
  unsigned flags = AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (recursive ? AT_RECURSIVE : 0);
  device_tree tree;
  struct stat st {};
  tree.mount = unique_fd{static_cast<int>(::syscall(SYS_open_tree, source, "", flags))};
  if (!tree.mount || ::fstat(source, &st) < 0) return fail_errno(errno, "Cannot clone a mount");
  tree.is_directory = S_ISDIR(st.st_mode);
  return tree;
}

/// A path as fstab has it.
std::string escaped(const std::string& path) {
  std::string out;
  for (char c : path) {
    if (c == ' ')
      out += "\\040";
    else if (c == '\t')
      out += "\\011";
    else if (c == '\\')
      out += "\\134";
    else
      out += c;
  }
  return out;
}

std::string entry(const std::string& staged, const std::string& path, const device_tree& tree, bool recursive,
                  bool readonly) {
  return staged + " " + escaped(path.substr(1)) + " none " + (recursive ? "rbind" : "bind") + (readonly ? ",ro" : "") +
         (tree.is_directory ? ",create=dir 0 0" : ",create=file 0 0");
}

outcome<void> make_target(const device_tree& tree, const std::string& path) {
  if (tree.is_directory ? ::mkdir(path.c_str(), 0755) < 0 : ::mknod(path.c_str(), S_IFREG | 0644, 0) < 0)
    return fail_errno(errno, "Cannot make " + path);
  return {};
}

} // namespace

outcome<device_tree> open_mount(schema::MountView::Reader from, const id_maps& ids) {
  bool mapped = !ids.uids.empty();
  auto source = text(from.getSource());
  outcome<device_tree> tree;
  if (source.empty()) {
    tree = open_tmpfs(text(from.getOptions()), host_id(ids.uids, 0));
  } else {
    auto opened = open_source(source, text(from.getBeneath()));
    if (!opened && errno == ENOENT && !from.getRequired()) return device_tree{};
    if (!opened) return fail_errno(errno, "Cannot open the disk's source " + source);
    tree = clone_mount(opened.get(), from.getRecursive());
  }
  if (!tree) return tree;
  int mount = tree->mount.get();
  outcome<void> done;
  if (from.getShift() && mapped) done = shift(mount, from.getRecursive(), ids);
  if (done && from.getReadonly()) {
    mount_attr attributes{};
    attributes.attr_set = MOUNT_ATTR_RDONLY;
    done = set_attributes(mount, attributes, from.getRecursive(), "protect");
  }
  if (done) done = set_propagation(mount, view(from.getPropagation()), mapped);
  if (!done) return tl::unexpected{done.error()};
  return tree;
}

outcome<device_tree> open_node(const std::string& stage, schema::NodeView::Reader from, const id_maps& ids) {
  // A node is usable only where its file system allows devices, which one of the instance's own never does.
  if (::mount("troupe", stage.c_str(), "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=0700,size=64k") < 0)
    return fail_errno(errno, "Cannot mount on " + stage);
  auto path = stage + "/node";
  auto kind = from.getType() == 'b' ? S_IFBLK : S_IFCHR;
  bool made = ::mknod(path.c_str(), kind | 0600, ::makedev(from.getMajor(), from.getMinor())) == 0 &&
              ::chown(path.c_str(), host_id(ids.uids, from.getUid()), host_id(ids.gids, from.getGid())) == 0 &&
              ::chmod(path.c_str(), from.getMode() & 0777) == 0;
  if (!made) return fail_errno(errno, "Cannot make the node " + text(from.getPath()));
  unique_fd node{::open(path.c_str(), O_PATH | O_CLOEXEC)};
  auto tree = clone_mount(node.get(), false);
  if (tree)
    if (auto done = set_propagation(tree->mount.get(), "private", true); !done) return tl::unexpected{done.error()};
  return tree;
}

outcome<void> attach(const device_tree& tree, int target) {
  if (::syscall(SYS_move_mount, tree.mount.get(), "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) <
      0)
    return fail_errno(errno, "Cannot attach a mount");
  return {};
}

outcome<void> attach(const device_tree& tree, const std::string& path) {
  unique_fd target{::open(path.c_str(), O_PATH | O_CLOEXEC)};
  if (!target) return fail_errno(errno, "Cannot open " + path);
  return attach(tree, target.get());
}

outcome<std::vector<std::string>> stage_devices(const std::string& stage, schema::StartJob::Reader request) {
  std::vector<std::string> entries;
  auto ids = maps_of(request.getRoot());
  auto place = [&](const device_tree& tree, const std::string& path, bool recursive, bool readonly) -> outcome<void> {
    if (!tree.mount) return {};
    auto staged = stage + "/device" + std::to_string(entries.size());
    entries.push_back(entry(staged, path, tree, recursive, readonly));
    return make_target(tree, staged).and_then([&] { return attach(tree, staged); });
  };
  for (auto mount : request.getMounts()) {
    auto tree = open_mount(mount, ids);
    if (!tree) return tl::unexpected{tree.error()};
    auto done = place(*tree, text(mount.getPath()), mount.getRecursive(), mount.getReadonly());
    if (!done) return tl::unexpected{done.error()};
  }
  for (auto node : request.getNodes()) {
    auto workshop = stage + "/nodes" + std::to_string(entries.size());
    if (::mkdir(workshop.c_str(), 0700) < 0) return fail_errno(errno, "Cannot make " + workshop);
    auto tree = open_node(workshop, node, ids);
    if (!tree) return tl::unexpected{tree.error()};
    auto done = place(*tree, text(node.getPath()), false, false);
    ::umount2(workshop.c_str(), MNT_DETACH);
    if (!done) return tl::unexpected{done.error()};
  }
  return entries;
}

} // namespace troupe::lxc
