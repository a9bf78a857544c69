#include "gateway/http_sender.hpp"

#include "gateway/http_context.hpp"
#include "gateway/http_file_job.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <fcntl.h>
#include <unistd.h>

namespace troupe {
namespace {

constexpr size_t buffer_bytes = 256 << 10;

const std::string* memory_of(const body_part& part) {
  if (auto* text = std::get_if<std::string>(&part)) return text;
  auto* shared = std::get_if<std::shared_ptr<const std::string>>(&part);
  return shared ? shared->get() : nullptr;
}

bool is_memory(const body_part& part) { return part.index() < 2; }

std::string chunk_head(size_t size) {
  constexpr char digits[] = "0123456789abcdef";
  std::string text = "\r\n";
  for (; size; size /= 16) text.insert(text.begin(), digits[size % 16]);
  return text;
}

} // namespace

http_sender::http_sender(http_stream& to, std::function<void(bool)> done) : to_{&to}, done_{std::move(done)} {}

void http_sender::start(http_response response, reply_frame& frame) {
  head_ = reply_head(response, frame);
  chunked_ = frame.chunked;
  if (frame.head_only)
    end_sent_ = true;
  else
    parts_ = std::move(response.body);
  if (!to_->writing()) run(); // else the 100 Continue is still on its way
}

void http_sender::on_written(bool ok) {
  if (ok)
    run();
  else
    finish(false);
}

void http_sender::abandon() {
  to_ = nullptr;
  done_ = nullptr;
  watch_.reset();
}

void http_sender::finish(bool ok) {
  to_ = nullptr;
  watch_.reset();
  if (auto call = std::exchange(done_, nullptr)) call(ok);
}

/// True: all was taken, go on. False: on_written comes later, or it failed and we are done.
bool http_sender::pass(std::span<const std::string_view> pieces) {
  for (auto piece : pieces) handed_over_ += piece.size();
  auto result = to_->write(pieces);
  if (result == http_stream::sent::failed) finish(false);
  return result == http_stream::sent::all;
}

void http_sender::run() {
  auto self = shared_from_this(); // `done` may drop us
  int turns = 8;
  while (to_) {
    if (!head_sent_ || (at_ < parts_.size() && is_memory(parts_[at_]))) {
      if (!send_memory()) return;
    } else if (at_ < parts_.size()) {
      if (auto* range = std::get_if<file_range>(&parts_[at_])) return read_range(*range);
      if (!read_pipe(std::get<pipe_stream>(parts_[at_]), turns)) return;
    } else if (chunked_ && !end_sent_) {
      end_sent_ = true;
      if (std::array<std::string_view, 1> end{"0\r\n\r\n"}; !pass(end)) return;
    } else {
      return finish(true);
    }
  }
}

/// The head and what follows it in memory leave in one system call.
bool http_sender::send_memory() {
  std::array<std::string_view, 16> pieces;
  size_t count = 0;
  if (!std::exchange(head_sent_, true)) pieces[count++] = head_;
  while (at_ < parts_.size() && count + 3 <= pieces.size() && is_memory(parts_[at_])) {
    auto* text = memory_of(parts_[at_++]);
    if (!text || text->empty()) continue;
    if (!chunked_) {
      pieces[count++] = *text;
      continue;
    }
    chunk_head_ = chunk_head(text->size());
    pieces[count++] = chunk_head_;
    pieces[count++] = *text;
    pieces[count++] = "\r\n";
    break;
  }
  return count == 0 || pass(std::span{pieces}.first(count));
}

bool http_sender::send(std::string_view data) {
  if (!chunked_) return pass(std::span{&data, 1});
  chunk_head_ = chunk_head(data.size());
  std::array<std::string_view, 3> pieces{chunk_head_, data, "\r\n"};
  return pass(pieces);
}

void http_sender::read_range(file_range& range) {
  if (range.size == 0) {
    ++at_;
    return run();
  }
  auto size = static_cast<size_t>(std::min<uint64_t>(range.size, buffer_bytes));
  buffer_.resize(std::max(buffer_.size(), size));
  auto then = [self = shared_from_this(), &range](ssize_t got) {
    if (!self->to_) return;
    if (got <= 0) return self->finish(false); // shorter than promised: only a broken connection tells the peer
    range.offset += static_cast<uint64_t>(got);
    range.size -= static_cast<uint64_t>(got);
    if (self->send({self->buffer_.data(), static_cast<size_t>(got)})) self->run();
  };
  read_file(to_->context(), range.file.get(), buffer_.data(), size, range.offset, then);
}

/// True: go on at once. A fast pipe gives way to others after some buffers.
bool http_sender::read_pipe(pipe_stream& pipe, int& turns) {
  int fd = pipe.source.get();
  if (int flags = fcntl(fd, F_GETFL); !(flags & O_NONBLOCK)) fcntl(fd, F_SETFL, flags | O_NONBLOCK);
  buffer_.resize(buffer_bytes);
  ssize_t got = -1;
  errno = EAGAIN;
  if (turns-- > 0) do
      got = ::read(fd, buffer_.data(), buffer_.size());
    while (got < 0 && errno == EINTR);
  if (got > 0) return send({buffer_.data(), static_cast<size_t>(got)});
  if (got == 0) {
    ++at_;
    return true;
  }
  if (errno == EAGAIN) {
    watch_ = to_->context().on.watch_readable(fd, [this] {
      auto self = shared_from_this();
      watch_.reset(); // first: a descriptor can be watched once
      run();
    });
  }
  if (!watch_) finish(false);
  return false;
}

} // namespace troupe
