#include "runtime/limits.hpp"

#include <cerrno>
#include <malloc.h>
#include <sys/resource.h>

namespace troupe {

outcome<uint64_t> raise_open_files() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return fail_errno(errno, "Cannot read the limit of open files");
  limit.rlim_cur = limit.rlim_max;
  if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) return fail_errno(errno, "Cannot raise the limit of open files");
  return limit.rlim_cur;
}

void tune_allocator() {
  // An arena per thread would keep what its thread freed; threads here mostly wait, so they hardly compete for two.
  ::mallopt(M_ARENA_MAX, 2);
  // Fixed, because glibc otherwise raises both after the first big block is freed, and then hardly gives back anything.
  ::mallopt(M_MMAP_THRESHOLD, 128 * 1024);
  ::mallopt(M_TRIM_THRESHOLD, 128 * 1024);
}

} // namespace troupe
