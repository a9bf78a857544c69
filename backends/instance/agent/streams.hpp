#pragma once

#include "messages/agent.capnp.h"
#include "messages/unique_fd.hpp"

#include <functional>
#include <kj/async-unix.h>
#include <memory>
#include <optional>

namespace troupe::guest {

/// A descriptor on an event loop. Files and devices that cannot be watched are read and written as they are: they never
/// say "later". One reader and one writer at a time.
class loop_fd {
public:
  loop_fd(kj::UnixEventPort& port, unique_fd fd);

  /// 0: the end; of a terminal also that nobody has its other side open.
  kj::Promise<size_t> read(void* buffer, size_t size);
  /// -1 with EAGAIN: nothing is there now.
  ssize_t try_read(void* buffer, size_t size);
  kj::Promise<void> when_readable();
  /// All of it. DISCONNECTED: nobody reads.
  kj::Promise<void> write(const void* data, size_t size);
  /// The other end has gone.
  kj::Promise<void> when_gone();
  void end_writing(); // of a socket: the other end sees the end of what was written
  void close();
  int get() const { return fd_.get(); }

private:
  kj::UnixEventPort::FdObserver& observer();

  kj::UnixEventPort& port_;
  unique_fd fd_;
  kj::Own<kj::UnixEventPort::FdObserver> observer_;
};

/// Gives a stream what a descriptor says, as fast as it takes it, and then its end. What a command leaves running may
/// hold its pipe for ever: after `finish` only what is there already is taken.
class fd_sender {
public:
  enum class afterwards : uint8_t { close, keep }; // the descriptor
  fd_sender(std::shared_ptr<loop_fd> from, ByteStream::Client to, afterwards then = afterwards::close);
  /// Fails when the receiver does.
  kj::Promise<void> run();
  void finish();

private:
  kj::Promise<void> go_on();
  void end();

  std::shared_ptr<loop_fd> from_;
  ByteStream::Client to_;
  const afterwards then_;
  bool finishing_ = false;
  kj::PromiseFulfillerPair<void> finish_ = kj::newPromiseAndFulfiller<void>();
  kj::ForkedPromise<void> finished_;
  kj::Array<kj::byte> buffer_;
};

/// Writes what a stream gets to a descriptor, and closes that at its end or when nobody has the stream any more. Of
/// what is read from, too (a socket, a terminal), it ends the writing side at a proper end, and leaves the rest to its
/// owner.
class fd_receiver final : public ByteStream::Server {
public:
  /// `ended` is told of a proper end.
  explicit fd_receiver(std::shared_ptr<loop_fd> to, bool both_ways = false, std::function<void()> ended = {});
  ~fd_receiver() noexcept(false);
  /// It is a recording: beyond so many bytes, or what the disk takes, the rest is thrown away.
  void limit(uint64_t room) { room_ = room; }

  kj::Promise<void> write(WriteContext context) override;
  kj::Promise<void> end(EndContext context) override;

private:
  void finish();

  std::shared_ptr<loop_fd> to_; // null: ended
  bool both_ways_;
  std::function<void()> ended_;
  std::optional<uint64_t> room_;
};

} // namespace troupe::guest
