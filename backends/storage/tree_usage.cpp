#include "backends/storage/tree.hpp"
#include "messages/unique_fd.hpp"

#include <cerrno>
#include <dirent.h>
#include <fcntl.h>
#include <memory>
#include <set>
#include <string_view>
#include <sys/stat.h>

namespace troupe {
namespace {

constexpr unsigned depth_max = 256;

class usage_walk {
public:
  outcome<void> directory(unique_fd fd, unsigned depth) {
    int here = fd.get();
    std::unique_ptr<DIR, int (*)(DIR*)> stream{fdopendir(here), closedir};
    if (!stream) return fail_errno(errno, "Cannot read a directory of the volume");
    fd.release();
    for (errno = 0; auto* entry = readdir(stream.get()); errno = 0) {
      std::string_view name{entry->d_name};
      struct stat facts;
      if (name == ".." || fstatat(here, entry->d_name, &facts, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) != 0) continue;
      if (name == "." || !S_ISDIR(facts.st_mode)) {
        count(facts);
      } else if (depth < depth_max) {
        unique_fd below{open_below(here, entry->d_name, O_RDONLY | O_NOATIME)};
        if (!below) continue; // a mount, or gone
        if (auto done = directory(std::move(below), depth + 1); !done) return done;
      }
    }
    return {};
  }

  uint64_t bytes() const { return bytes_; }

private:
  void count(const struct stat& facts) {
    bool again = !S_ISDIR(facts.st_mode) && facts.st_nlink > 1 && !seen_.insert({facts.st_dev, facts.st_ino}).second;
    if (!again) bytes_ += static_cast<uint64_t>(facts.st_blocks) * 512;
  }

  uint64_t bytes_ = 0;
  std::set<std::pair<dev_t, ino_t>> seen_;
};

} // namespace

outcome<uint64_t> tree_usage(int directory) {
  unique_fd fd{openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (!fd) return fail_errno(errno, "Cannot read the directory of the volume");
  usage_walk walk;
  if (auto done = walk.directory(std::move(fd), 0); !done) return tl::unexpected{done.error()};
  return walk.bytes();
}

} // namespace troupe
