#include "cli/scratch_dir.hpp"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <ftw.h>

namespace troupe {

outcome<scratch_dir> scratch_dir::make(const std::string& purpose) {
  const char* set = std::getenv("TMPDIR");
  std::string path = set && *set == '/' ? set : "/var/tmp";
  path += "/troupe-" + purpose + "-XXXXXX";
  if (!::mkdtemp(path.data())) return fail_errno(errno, "Cannot make the folder " + path);
  return scratch_dir{std::move(path)};
}

scratch_dir::~scratch_dir() {
  if (path_.empty()) return;
  // A tool that was killed may have left a mount of the host inside: FTW_MOUNT does not go there.
  ::nftw(
      path_.c_str(), [](const char* entry, const struct stat*, int, FTW*) { return std::remove(entry), 0; }, 32,
      FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

} // namespace troupe
