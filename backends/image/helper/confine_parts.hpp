#pragma once

#include "messages/error.hpp"
#include "messages/unique_fd.hpp"

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <sys/resource.h>
#include <sys/types.h>

namespace troupe::unpack {

// What confinements are made of; see confine.hpp and confine_program.hpp.

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool sanitized = true; // shadow memory needs terabytes of addresses and odd system calls
#else
constexpr bool sanitized = false;
#endif

/// An error with errno unless `good`.
outcome<void> check(bool good, const char* what);

/// A tmpfs that nobody sees yet, just large enough for the places where things are mounted.
outcome<unique_fd> empty_root(const char* size, uint64_t attributes);
/// A copy of the mount at a file or directory, with more attributes; only in the mount namespace that it is of.
outcome<unique_fd> copy_of(int at, const char* path, uint64_t attributes);
/// Makes `root` the root of new namespaces in which nothing else is visible. `furnish` runs in it before, with the host
/// still visible; afterwards it is read only.
outcome<void> enter_root(const unique_fd& root, const std::function<outcome<void>()>& furnish);

struct bounds {
  rlim_t bytes = 0; // of a file that is written
  rlim_t files = 512;
  rlim_t memory = rlim_t{1} << 30;
  rlim_t processes = 0; // of all with that identity
};
outcome<void> limit(const bounds& most);

/// Gives up every capability but these, and every way to more.
outcome<void> drop_rights(uid_t user, gid_t group, std::initializer_list<int> kept);

} // namespace troupe::unpack
