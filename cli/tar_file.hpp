#pragma once

#include "messages/error.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace troupe {

/// Writes a tar archive (or what a kernel unpacks at boot, a cpio archive) whose bytes depend on its entries only:
/// owner root, one time for all, no extras.
class tar_file {
public:
  enum class compression { none, gzip };
  enum class layout { tar, cpio };

  /// Creates `path` (mode 0600). `mtime`: seconds since 1970 of every entry.
  static outcome<tar_file> create(const std::string& path, compression how, int64_t mtime, layout as = layout::tar);

  outcome<void> folder(const std::string& name, int mode = 0755);
  outcome<void> file(const std::string& name, std::string_view content, int mode = 0644, int gid = 0);
  outcome<void> link(const std::string& name, const std::string& target); // symbolic
  /// A file with the content of `fd`, which is a regular file.
  outcome<void> copy(const std::string& name, int fd, int mode);
  /// Must be called: an archive that was not finished is not complete.
  outcome<void> finish();

private:
  struct data;
  explicit tar_file(std::shared_ptr<data> d) : data_{std::move(d)} {}
  std::shared_ptr<data> data_;
};

} // namespace troupe
