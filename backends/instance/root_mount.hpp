#pragma once

#include <string>

namespace troupe {

/// How an instance's volume is assembled. A volume directory holds `rootfs/`, `metadata.yaml` and `templates/`.
/// Ids on disk are the guest's own (unshifted); whoever mounts it shifts them by an idmapped mount.
struct root_mount {
  std::string path;  // the volume directory itself; for an overlay: where the merged view may be mounted
  std::string lower; // overlay only: the image's volume directory (read-only); empty: `path` is the whole truth
  std::string upper; // overlay only: what the instance wrote
  std::string work;  // overlay only: overlayfs work directory, same file system as upper
  bool shifted_on_disk = false; // ids were rewritten on disk because the kernel cannot map this mount
};

} // namespace troupe
