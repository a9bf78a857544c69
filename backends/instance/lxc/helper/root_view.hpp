#pragma once

#include "backends/instance/id_maps.hpp"
#include "messages/error.hpp"
#include "messages/helper.capnp.h"
#include "messages/unique_fd.hpp"

#include <string>
#include <sys/types.h>

namespace troupe::lxc {

/// An instance's root file system as this process sees it.
struct root_view {
  std::string path; // the directory that is "/" inside
  uid_t owner = 0;  // the id that is the guest's root in this view
};

/// Acts on files as `owner` (and its group), with all capabilities, until the end of the scope.
class file_identity {
public:
  explicit file_identity(uid_t owner);
  ~file_identity();
  file_identity(const file_identity&) = delete;
  file_identity& operator=(const file_identity&) = delete;
};

/// A user namespace with the instance's id map.
outcome<unique_fd> open_user_namespace(const id_maps& maps);

/// Those that a boot is asked for, or that a running instance has (`process`: its init); empty: it is privileged.
id_maps maps_of(schema::RootView::Reader root);
id_maps maps_of_process(pid_t process);

/// For a boot. Id-mapped mounts and overlays are made in a mount namespace of this process, so it vanishes with the
/// monitor that is forked from it; `own_stage`: it is needed for more than the root. `unsupported` when the kernel
/// cannot map ids of overlay layers.
outcome<root_view> assemble_for_boot(const std::string& stage, schema::RootView::Reader root, bool own_stage);

/// For file access while the instance is down: ids are the guest's own. `writable` false leaves the layers untouched.
outcome<root_view> assemble_for_files(const std::string& stage, schema::RootView::Reader root, bool writable);

} // namespace troupe::lxc
