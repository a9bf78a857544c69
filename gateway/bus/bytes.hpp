#pragma once

#include "gateway/bus/ask.hpp"
#include "messages/unique_fd.hpp"

namespace troupe::on_bus {

/// Sends `size` bytes of a regular file to a stream and ends it; reads on blocking threads, a chunk at a time, as fast
/// as the receiver takes them.
kj::Promise<void> send_file(const place& at, std::shared_ptr<const unique_fd> file, uint64_t size,
                            bus::ByteStream::Client to);

/// The same for what a socket gives until its end.
kj::Promise<void> send_stream(const place& at, std::shared_ptr<const unique_fd> socket, bus::ByteStream::Client to);

/// A stream whose bytes are appended to a file, by blocking threads; `ended` runs at its end, before that is answered.
bus::ByteStream::Client receive_file(const place& at, std::shared_ptr<const unique_fd> file,
                                     std::function<void()> ended);
/// The same of the instance at `at`, whose files may hang.
bus::ByteStream::Client receive_inside(const place& at, std::shared_ptr<const unique_fd> file,
                                       std::function<void()> ended);

} // namespace troupe::on_bus
