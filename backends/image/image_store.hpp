#pragma once

#include "backends/cancel_token.hpp"
#include "messages/config_map.hpp"
#include "messages/error.hpp"
#include "messages/image.capnp.h"
#include "messages/message.hpp"
#include "messages/unique_fd.hpp"

#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace troupe {

using progress_sink = std::function<void(uint64_t done, uint64_t total)>; // bytes

/// An uploaded image before it is stored: unnamed temporary files, gone if we die.
struct image_upload {
  unique_fd metadata;   // the unified tarball, or the metadata half
  unique_fd rootfs;     // split only
  std::string filename; // as the client named it
};

struct image_facts {
  std::string fingerprint; // lower-case SHA-256: of the file, or of metadata followed by rootfs
  uint64_t size = 0;       // sum of both files
  bool split = false;
  bool virtual_machine = false;
  message<schema::ImageMetadata> metadata;
  uint64_t disk_size = 0; // of a virtual machine: bytes that it sees
};

/// Splits a multipart/form-data body (spooled to `body`) into the parts `metadata` and `rootfs` / `rootfs.img`.
outcome<image_upload> split_multipart(const unique_fd& body, std::string_view content_type,
                                      const std::string& spool_dir);

/// The files of DIR/images: `FINGERPRINT` and, for split images, `FINGERPRINT.rootfs`.
/// Archives are read only by the confined helper `troupe-unpack`, disks by `troupe-convert`. Calls block; thread-safe.
class image_store {
public:
  /// `troupe-convert` lies beside `unpack_program`. `disk_max`: bytes that a virtual machine of an image may see.
  image_store(std::string directory, std::string unpack_program, uint64_t disk_max = uint64_t{128} << 30);
  /// Hashes, reads metadata.yaml (confined), refuses what is no image. Stores nothing.
  outcome<image_facts> inspect(const image_upload& upload, const progress_sink& progress,
                               const cancel_token* stop = nullptr);
  /// Links the files under their fingerprint, synced. Idempotent.
  outcome<void> keep(const image_upload& upload, const image_facts& facts);
  outcome<void> forget(const std::string& fingerprint);
  /// Open files of a stored image: one (unified) or two (metadata, rootfs).
  outcome<std::vector<unique_fd>> open(const std::string& fingerprint, bool split);
  /// Extension that the stored file's compression asks for: ".tar.gz", ".tar.xz", ".squashfs".
  outcome<std::string> extension(const unique_fd& file);
  /// Unpacks into a volume directory that is empty, or has an empty rootfs/: metadata.yaml, templates/, and rootfs/ or,
  /// of a virtual machine, root.img, raw and sparse. Hostile content cannot leave it.
  outcome<void> unpack(const std::string& fingerprint, bool split, const std::string& volume_dir,
                       const progress_sink& progress, const cancel_token* stop = nullptr);
  /// Fingerprints of whole images on disk, sorted, to reconcile with; sweeps halves that a crash left.
  outcome<std::vector<std::string>> list();

private:
  outcome<void> convert(const unique_fd& disk, uint64_t size, const unique_fd& volume, const progress_sink& progress,
                        const cancel_token* stop);

  std::string directory_;
  std::string unpack_program_, convert_program_;
  uint64_t disk_max_;
  std::mutex files_; // keep, forget and list see each other's files whole
};

/// metadata.yaml of a volume or an image; unknown keys are ignored, wrong types are refused.
outcome<message<schema::ImageMetadata>> parse_metadata(std::string_view yaml);

} // namespace troupe
