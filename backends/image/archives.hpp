#pragma once

#include "backends/image/image_store.hpp"
#include "backends/instance/root_mount.hpp"

#include <string>
#include <vector>

namespace troupe {

// Writing the archives of images and backups, and reading those of backups, by the confined helpers. All calls block.

/// How an archive is compressed: an algorithm and its level, never a command.
struct compression {
  std::string algorithm; // none, gzip, bzip2, lzma, xz, zstd
  int level = 0;         // 0: the algorithm's own choice
};
/// "none", "gzip", "zstd-19"; fault::invalid for what is not one, fault::unsupported for what LXD knows besides.
outcome<compression> parse_compression(std::string_view text);

/// A file, or what a volume holds (metadata.yaml, templates/ and rootfs/); of two files with one name the first counts.
/// fault::unsupported for the volume of a virtual machine.
struct archive_part {
  std::string name; // of the file; or what stands before the names of the tree: "backup/container"
  std::optional<std::string> content = {}; // a file with that in it
  unique_fd file = {};                     // a file
  std::optional<root_mount> volume = {};   // neither: a tree
};

struct packed_archive {
  uint64_t size = 0;
  std::string sha256;
};

/// Packs into the empty file `into` and puts it on disk; hashed on the way. Progress: bytes read, of an unknown total.
outcome<packed_archive> pack_archive(std::vector<archive_part> parts, const compression& how, const unique_fd& into,
                                     const progress_sink& progress, const cancel_token* stop);

/// index.yaml of a backup, as it is; the rest stays unread.
outcome<std::string> read_backup_index(const unique_fd& archive, const cancel_token* stop);

/// Where a tree of a backup goes: "container" or "snapshots/NAME", into an empty volume.
struct backup_target {
  std::string tree, directory;
};
/// Unpacks all trees in one pass and puts them on disk; each must be there, and no other snapshot. Returns the
/// backup.yaml of the container.
outcome<std::string> unpack_backup(const unique_fd& archive, const std::vector<backup_target>& targets,
                                   const progress_sink& progress, const cancel_token* stop);

/// The streams of an optimised backup, into an empty file for each tree; all must be there, and nothing else. Returns
/// its optimized_header.yaml, if it has one.
outcome<std::string> unpack_streams(const unique_fd& archive, const std::vector<std::string>& trees,
                                    const std::vector<unique_fd>& files, const progress_sink& progress,
                                    const cancel_token* stop);

} // namespace troupe
