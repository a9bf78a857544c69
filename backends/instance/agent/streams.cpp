#include "backends/instance/agent/streams.hpp"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <kj/debug.h>
#include <sys/socket.h>

namespace troupe::guest {
namespace {

constexpr size_t chunk_bytes = 32 << 10;

} // namespace

loop_fd::loop_fd(kj::UnixEventPort& port, unique_fd fd) : port_{port}, fd_{std::move(fd)} {
  if (fd_) ::fcntl(fd_.get(), F_SETFL, ::fcntl(fd_.get(), F_GETFL) | O_NONBLOCK);
}

kj::UnixEventPort::FdObserver& loop_fd::observer() {
  if (!observer_)
    observer_ =
        kj::heap<kj::UnixEventPort::FdObserver>(port_, fd_.get(), kj::UnixEventPort::FdObserver::OBSERVE_READ_WRITE);
  return *observer_;
}

ssize_t loop_fd::try_read(void* buffer, size_t size) {
  for (;;) {
    auto got = ::read(fd_.get(), buffer, size);
    if (got >= 0 || errno == EAGAIN) return got;
    if (errno == EIO || errno == EBADF) return 0;
    if (errno != EINTR) KJ_FAIL_SYSCALL("read", errno);
  }
}

kj::Promise<void> loop_fd::when_readable() {
  if (!fd_) return kj::READY_NOW;
  return observer().whenBecomesReadable();
}

kj::Promise<size_t> loop_fd::read(void* buffer, size_t size) {
  auto got = try_read(buffer, size);
  if (got >= 0) return static_cast<size_t>(got);
  return when_readable().then([this, buffer, size] { return read(buffer, size); });
}

kj::Promise<void> loop_fd::write(const void* data, size_t size) {
  auto* from = static_cast<const char*>(data);
  while (size > 0) {
    auto put = ::write(fd_.get(), from, size);
    if (put >= 0) {
      from += put;
      size -= static_cast<size_t>(put);
    } else if (errno == EAGAIN) {
      return observer().whenBecomesWritable().then([this, from, size] { return write(from, size); });
    } else if (errno != EINTR) {
      return KJ_EXCEPTION(DISCONNECTED, "Nobody reads");
    }
  }
  return kj::READY_NOW;
}

kj::Promise<void> loop_fd::when_gone() { return observer().whenWriteDisconnected(); }

void loop_fd::end_writing() { ::shutdown(fd_.get(), SHUT_WR); }

void loop_fd::close() {
  observer_ = nullptr;
  fd_.reset();
}

fd_sender::fd_sender(std::shared_ptr<loop_fd> from, ByteStream::Client to, afterwards then)
    : from_{std::move(from)}, to_{kj::mv(to)}, then_{then}, finished_{finish_.promise.fork()},
      buffer_{kj::heapArray<kj::byte>(chunk_bytes)} {}

kj::Promise<void> fd_sender::run() {
  return go_on().then([this] { end(); },
                      [this](kj::Exception&& why) {
                        end();
                        kj::throwFatalException(kj::mv(why));
                      });
}

void fd_sender::end() {
  if (then_ == afterwards::close) from_->close();
}

kj::Promise<void> fd_sender::go_on() {
  auto got = from_->try_read(buffer_.begin(), buffer_.size());
  if (got > 0) {
    auto size = static_cast<size_t>(got);
    auto request = to_.writeRequest(capnp::MessageSize{size / 8 + 16, 0});
    request.setBytes(kj::arrayPtr(buffer_.begin(), size));
    return request.send().then([this] { return go_on(); });
  }
  if (got == 0 || finishing_) return to_.endRequest().send().ignoreResult();
  return from_->when_readable().exclusiveJoin(finished_.addBranch()).then([this] { return go_on(); });
}

void fd_sender::finish() {
  finishing_ = true;
  finish_.fulfiller->fulfill();
}

fd_receiver::fd_receiver(std::shared_ptr<loop_fd> to, bool both_ways, std::function<void()> ended)
    : to_{std::move(to)}, both_ways_{both_ways}, ended_{std::move(ended)} {}

fd_receiver::~fd_receiver() noexcept(false) {
  if (to_ && !both_ways_) to_->close();
}

void fd_receiver::finish() {
  auto gone = std::exchange(to_, nullptr);
  if (both_ways_)
    gone->end_writing();
  else
    gone->close();
}

kj::Promise<void> fd_receiver::write(WriteContext context) {
  if (!to_ || to_->get() < 0) return KJ_EXCEPTION(DISCONNECTED, "The stream was ended");
  auto bytes = context.getParams().getBytes();
  if (!room_) return to_->write(bytes.begin(), bytes.size());
  auto size = std::min<uint64_t>(bytes.size(), *room_);
  *room_ -= size;
  return to_->write(bytes.begin(), size).catch_([this](kj::Exception&&) { room_ = 0; });
}

kj::Promise<void> fd_receiver::end(EndContext) {
  if (to_) finish();
  if (ended_) ended_();
  return kj::READY_NOW;
}

} // namespace troupe::guest
