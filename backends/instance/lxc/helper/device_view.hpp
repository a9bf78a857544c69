#pragma once

#include "backends/instance/id_maps.hpp"
#include "messages/error.hpp"
#include "messages/helper.capnp.h"
#include "messages/unique_fd.hpp"

#include <string>
#include <utility>
#include <vector>

namespace troupe::lxc {

/// A device as a mount that is attached nowhere yet.
struct device_tree {
  unique_fd mount; // empty: its source is missing, and need not be there
  bool is_directory = false;
};

/// A path that must not lead out of a folder (`beneath` not empty) is walked from that folder. errno is set on failure.
unique_fd open_source(const std::string& source, const std::string& beneath);

/// The source is opened once, and what was opened is what appears inside.
outcome<device_tree> open_mount(schema::MountView::Reader from, const id_maps& ids);
/// Needs a mount namespace of this process's own: the node is made on `stage`, over which a tmpfs is mounted.
outcome<device_tree> open_node(const std::string& stage, schema::NodeView::Reader from, const id_maps& ids);
/// Attaches it to a path of the host.
outcome<void> attach(const device_tree& tree, const std::string& path);
outcome<void> attach(const device_tree& tree, int target);

/// For a boot: makes all of them below `stage`, which is this process's own, and says how liblxc mounts them.
outcome<std::vector<std::string>> stage_devices(const std::string& stage, schema::StartJob::Reader request);

} // namespace troupe::lxc
