#pragma once

#include "messages/error.hpp"
#include "messages/helper.capnp.h"
#include "messages/unique_fd.hpp"

namespace troupe::files {

/// An instance's tree, opened; ids that `stat` gives are `base` above the instance's own.
struct opened_root {
  unique_fd directory, proc; // proc: see reopen
  uint32_t base = 0;
  uint32_t ids = 0;     // how many the instance has; 0: all
  bool distant = false; // who is at the other end of the socket takes no descriptors, only bytes
};

/// Does one job for who is at the other end of `socket`, and sends its answers; what is returned as an error was not
/// sent. Blocks for as long as the files do.
outcome<void> serve_file(int socket, const opened_root& root, schema::FileJob::Reader request);

} // namespace troupe::files
