#include "runtime/limits.hpp"

#include <cerrno>
#include <sys/resource.h>

namespace troupe {

outcome<uint64_t> raise_open_files() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return fail_errno(errno, "Cannot read the limit of open files");
  limit.rlim_cur = limit.rlim_max;
  if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) return fail_errno(errno, "Cannot raise the limit of open files");
  return limit.rlim_cur;
}

} // namespace troupe
