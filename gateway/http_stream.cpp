#include "gateway/http_stream.hpp"

#include "gateway/http_context.hpp"

#include <algorithm>
#include <array>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <uv.h>

namespace troupe {

struct http_stream::block {
  uv_pipe_t pipe{};
  uv_write_t write{};
  uv_shutdown_t shutdown{};
  http_stream* owner = nullptr;
  std::shared_ptr<http_context> context;
  std::shared_ptr<void> open;

  uv_stream_t* stream() noexcept { return reinterpret_cast<uv_stream_t*>(&pipe); }
  uv_handle_t* handle() noexcept { return reinterpret_cast<uv_handle_t*>(&pipe); }

  static void on_room(uv_handle_t* handle, size_t, uv_buf_t* into) {
    auto& scratch = static_cast<block*>(handle->data)->context->scratch;
    *into = uv_buf_init(scratch.data(), static_cast<unsigned>(scratch.size()));
  }

  static void on_read(uv_stream_t* from, ssize_t count, const uv_buf_t* bytes) {
    auto* owner = static_cast<block*>(from->data)->owner;
    if (!owner || !owner->user_ || count == 0) return;
    if (count > 0) return owner->user_->on_bytes({bytes->base, static_cast<size_t>(count)});
    owner->read(false);
    owner->ended_ = true;
    owner->user_->on_end();
  }

  static void on_written(uv_write_t* request, int status) {
    auto* owner = static_cast<block*>(request->data)->owner;
    if (!owner) return;
    owner->writing_ = false;
    if (owner->user_) owner->user_->on_written(status == 0);
  }
};

http_stream::http_stream(std::shared_ptr<http_context> context) : context_{std::move(context)} {}

std::unique_ptr<http_stream> http_stream::accept(std::shared_ptr<http_context> context, uv_stream_s* listener) {
  std::unique_ptr<http_stream> made{new http_stream{context}};
  auto* b = made->block_ = new block{};
  b->owner = made.get();
  b->context = context;
  b->open = context->open;
  uv_pipe_init(context->uv, &b->pipe, 0);
  b->pipe.data = b->write.data = b;
  ++context->streams;
  if (uv_accept(listener, b->stream()) != 0) return nullptr;
  ucred who{};
  socklen_t size = sizeof who;
  if (getsockopt(made->fd(), SOL_SOCKET, SO_PEERCRED, &who, &size) == 0) made->peer_ = {who.uid, who.gid, who.pid};
  return made;
}

http_stream::~http_stream() {
  --context_->streams;
  block_->owner = nullptr;
  uv_close(block_->handle(), [](uv_handle_t* h) { delete static_cast<block*>(h->data); });
}

void http_stream::read(bool on) {
  if (on == reading_ || ended_) return;
  reading_ = on;
  if (on)
    uv_read_start(block_->stream(), block::on_room, block::on_read);
  else
    uv_read_stop(block_->stream());
}

http_stream::sent http_stream::write(std::span<const std::string_view> pieces) {
  std::array<uv_buf_t, pieces_max> buffers;
  unsigned count = 0;
  size_t total = 0;
  for (auto piece : pieces) {
    buffers[count++] = {const_cast<char*>(piece.data()), piece.size()};
    total += piece.size();
  }
  auto written = uv_try_write(block_->stream(), buffers.data(), count);
  if (written < 0 && written != UV_EAGAIN) return sent::failed;
  auto done = static_cast<size_t>(std::max(written, 0));
  if (done == total) return sent::all;

  unsigned first = 0;
  while (done >= buffers[first].len) done -= buffers[first++].len;
  buffers[first].base += done;
  buffers[first].len -= done;
  writing_ = uv_write(&block_->write, block_->stream(), &buffers[first], count - first, block::on_written) == 0;
  return writing_ ? sent::later : sent::failed;
}

size_t http_stream::unwritten() const noexcept { return uv_stream_get_write_queue_size(block_->stream()); }

void http_stream::finish_writing() { uv_shutdown(&block_->shutdown, block_->stream(), nullptr); }

void http_stream::set_deadline(std::chrono::milliseconds in) noexcept { context_->set_deadline(*this, in); }

void http_stream::clear_deadline() noexcept { context_->clear_deadline(*this); }

void http_stream::deadline_passed() {
  if (user_) user_->on_deadline();
}

int http_stream::fd() const noexcept {
  uv_os_fd_t fd = -1;
  uv_fileno(block_->handle(), &fd);
  return fd;
}

bool http_stream::peer_gone() const noexcept {
  pollfd look{fd(), 0, 0};
  return ::poll(&look, 1, 0) > 0 && (look.revents & (POLLHUP | POLLERR | POLLNVAL));
}

bool http_stream::peer_read_all() const noexcept {
  int waiting = 0;
  return !writing_ && (ioctl(fd(), TIOCOUTQ, &waiting) != 0 || waiting == 0);
}

} // namespace troupe
