#pragma once

#include "backends/image/helper/tree_sink.hpp"

#include <memory>
#include <sys/stat.h>

struct archive;
struct archive_entry;

namespace troupe::unpack {

/// What an archive holds of a file or directory besides its content.
struct packed_entry {
  std::string path;
  struct stat facts {};
  std::string link = {};     // target of a symlink
  std::string hardlink = {}; // path of an earlier entry that is the same file
  std::vector<std::pair<std::string, std::string>> xattrs = {};
};

/// Writes a tarball to a descriptor: restricted pax, sparse files with their holes, compressed by a library.
class tar_writer {
public:
  /// `filter`: none, gzip, bzip2, lzma, xz or zstd; `level`: of that program, 0 its own choice.
  static outcome<tar_writer> open(int fd, const std::string& filter, const std::string& level);
  /// `content`: an open regular file, -1 for what has none.
  outcome<void> add(const packed_entry& entry, int content);
  outcome<void> finish();

private:
  struct closer {
    void operator()(archive* to) const;
  };
  outcome<void> write_content(int from, uint64_t size, const std::string& path);
  tl::unexpected<error> failed(const std::string& path) const;

  std::unique_ptr<archive, closer> to_;
  std::unique_ptr<int> fd_; // what the library writes to
  std::vector<char> block_;
};

} // namespace troupe::unpack
