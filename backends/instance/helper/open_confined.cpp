#include "backends/instance/helper/confined.hpp"

#include <cerrno>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace troupe::files {

unique_fd open_confined(int root, const std::string& path, uint64_t flags, mode_t mode) {
  open_how how{};
  how.flags = flags | O_CLOEXEC;
  how.mode = (flags & O_CREAT) ? mode : 0;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  int fd = -1;
  // EAGAIN: a rename raced with "..", which the kernel cannot rule out to be an escape. It asks to try again.
  do fd = static_cast<int>(::syscall(SYS_openat2, root, path.empty() ? "." : path.c_str(), &how, sizeof how));
  while (fd < 0 && errno == EAGAIN && !(flags & O_NONBLOCK));
  return unique_fd{fd};
}

} // namespace troupe::files
