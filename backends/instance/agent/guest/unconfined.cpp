#include "backends/instance/helper/confined.hpp"

#include <fcntl.h>

namespace troupe::files {

/// In a machine the tree is its own root, which nothing leads out of; and its kernel may be too old for openat2.
unique_fd open_confined(int root, const std::string& path, uint64_t flags, mode_t mode) {
  return unique_fd{::openat(root, ("./" + path).c_str(), static_cast<int>(flags) | O_CLOEXEC, mode)};
}

} // namespace troupe::files
