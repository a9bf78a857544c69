#pragma once

#include "messages/error.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

namespace troupe {

enum class entry_kind : uint8_t { directory, file, symlink, hardlink, fifo, skipped };

/// One entry of an archive as the archive tells it.
struct archive_entry_facts {
  entry_kind kind = entry_kind::skipped; // skipped: device nodes, sockets and what we do not know
  std::string_view path;
  std::string_view link; // target of a symlink or hardlink
  uint64_t size = 0;     // of a file, logical
};

/// Where an accepted entry goes: `metadata.yaml`, `templates[/…]`, `rootfs[/…]`, and what is called rootfs.img in the
/// archive, to `root.img`; never absolute, never with "..".
struct placement {
  std::string path;
  std::string link;      // hardlink: normalised like `path`; symlink: as told
  bool replaces = false; // an earlier entry of that name, no directory, goes away first
};

struct unpack_limits {
  uint64_t bytes_max = uint64_t{64} << 30; // logical size of all files
  uint64_t entries_max = 2'000'000;
  size_t path_max = 4000;                  // bytes; leaves room below PATH_MAX
  size_t depth_max = 200;                  // components
  uint64_t disk_max = uint64_t{128} << 30; // bytes that a virtual machine sees
};

inline constexpr uint64_t metadata_size_max = 1 << 20;

/// Which archive of an image is being read.
enum class archive_form : uint8_t { unified, metadata, rootfs };

/// Decides about every entry of an image before anything touches a disk: names, links, duplicates, sizes, counts.
/// The same rules judge an upload and the later unpacking, so what was accepted can be unpacked. Pure; one image each.
class unpack_rules {
public:
  explicit unpack_rules(unpack_limits limits, std::string_view noun = "image")
      : limits_{limits}, the_{"The " + std::string{noun}} {}

  /// nullopt: leave the entry out. An error refuses the whole image.
  outcome<std::optional<placement>> admit(archive_form form, const archive_entry_facts& entry);
  /// Whether all that there must be was seen.
  outcome<void> finish(bool needs_rootfs, bool needs_metadata = true) const;
  bool virtual_machine() const noexcept { return virtual_machine_; }

  /// Parts of `admit`, for who judges where an entry belongs first.
  outcome<std::string> normalise(archive_form form, std::string_view path) const;
  outcome<void> count(const archive_entry_facts& entry);

private:
  outcome<void> claim_parents(std::string_view path);
  outcome<std::optional<placement>> place(std::string path, const archive_entry_facts& entry, archive_form form);

  unpack_limits limits_;
  std::string the_;                                   // begins the sentences
  std::unordered_map<std::string, entry_kind> known_; // everything placed so far, and implied directories
  std::string last_parent_;                           // known to be a directory; entries come in runs
  uint64_t entries_ = 0;
  uint64_t bytes_ = 0;
  bool virtual_machine_ = false;
};

} // namespace troupe
