#pragma once

#include "messages/error.hpp"
#include "messages/unique_fd.hpp"

#include <string>
#include <sys/stat.h>

namespace troupe::files {

/// openat2 below the directory `root`: symbolic links (also absolute ones) resolve inside it, magic links are refused.
/// `path` is taken as seen from `root`. errno is set on failure.
unique_fd open_confined(int root, const std::string& path, uint64_t flags, mode_t mode = 0);

/// Opens exactly the file that `path_fd` (O_PATH) stands for. `proc_self_fd` is /proc/self/fd of the host's proc,
/// opened before another mount namespace was entered.
unique_fd reopen(int proc_self_fd, int path_fd, int flags);
unique_fd open_proc_self_fd();

/// "/a//b/./c/" -> {"/a/b", "c"}. `invalid` when it is the root itself or its last part is "..".
struct split_path {
  std::string parent, name;
};
outcome<split_path> split(const std::string& path);

/// Makes the missing directories of `path` (mode 0755) and opens the last as O_PATH.
outcome<unique_fd> make_directories(int root, const std::string& path);

/// Writes it all.
outcome<void> write_all(int fd, const char* data, size_t size, const std::string& what);

} // namespace troupe::files
