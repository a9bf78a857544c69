#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <sys/types.h>

namespace troupe {

class http_context;

/// One file operation on libuv's threads, so that a slow disk delays nobody else. Loop's thread only; `done` gets a
/// count of bytes (or the descriptor) or -errno, on the loop's thread. What the buffers belong to must be held by
/// `done`.
using file_job_done = std::function<void(ssize_t result)>;

void read_file(http_context& context, int fd, char* into, size_t size, uint64_t offset, file_job_done done);
void write_file(http_context& context, int fd, const char* from, size_t size, uint64_t offset, file_job_done done);
/// An unnamed file (O_TMPFILE) below the spool directory: it is gone with its descriptor, also after a crash.
void open_unnamed_file(http_context& context, file_job_done done);

} // namespace troupe
