#include "backends/storage/btrfs_send.hpp"

#include "backends/storage/btrfs_subvolumes.hpp"
#include "backends/storage/pool_layout.hpp"
#include "backends/storage/run_program.hpp"

#include <btrfsutil.h>
#include <cstdio>

namespace troupe {

outcome<void> send_subvolume(const std::string& path, const std::string& parent, const unique_fd& into) {
  auto volume = open_directory(path);
  if (!volume) return tl::unexpected{volume.error()};
  if (has_nested_subvolumes(volume->get()))
    return fail(fault::unsupported,
                "The instance has made subvolumes of its own, which an optimized backup cannot hold");
  std::vector<std::string> words{"btrfs", "send", "-q"};
  if (!parent.empty()) words.insert(words.end(), {"-p", parent});
  words.insert(words.end(), {"-f", "/proc/self/fd/3", path}); // where run_program puts what is kept open
  auto done = run_program(std::move(words), into.get());
  return done ? outcome<void>{} : tl::unexpected{done.error()};
}

outcome<std::string> subvolume_uuid(const std::string& path) {
  struct btrfs_util_subvolume_info info {};
  auto code = btrfs_util_subvolume_info(path.c_str(), 0, &info);
  if (code != BTRFS_UTIL_OK)
    return fail(fault::backend_failed, "Cannot look at " + path + ": " + btrfs_util_strerror(code));
  std::string out;
  for (size_t i = 0; i < sizeof info.uuid; ++i) {
    char digits[3];
    std::snprintf(digits, sizeof digits, "%02x", static_cast<unsigned>(info.uuid[i]));
    if (i == 4 || i == 6 || i == 8 || i == 10) out += '-';
    out += digits;
  }
  return out;
}

} // namespace troupe
