#include "gateway/socket_stream.hpp"

#include "gateway/host_places.hpp"
#include "gateway/http_context.hpp"
#include "runtime/listen_address.hpp"

#include <algorithm>
#include <array>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <uv.h>

namespace troupe {

struct socket_stream::block {
  union {
    uv_stream_t any;
    uv_pipe_t pipe;
    uv_tcp_t tcp;
  } socket{};
  uv_write_t write{};
  uv_shutdown_t shutdown{};
  socket_stream* owner = nullptr;
  std::shared_ptr<http_context> context;
  std::shared_ptr<void> open;

  uv_stream_t* stream() noexcept { return &socket.any; }
  uv_handle_t* handle() noexcept { return reinterpret_cast<uv_handle_t*>(&socket); }

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

namespace {

// A peer that vanished without a word is noticed after some two minutes.
constexpr unsigned probe_after_seconds = 60;

std::string address_of(uv_tcp_t* socket) {
  sockaddr_storage peer{};
  int size = sizeof peer;
  if (uv_tcp_getpeername(socket, reinterpret_cast<sockaddr*>(&peer), &size) != 0) return "?";
  return to_string(peer);
}

} // namespace

socket_stream::socket_stream(std::shared_ptr<http_context> context, family of)
    : http_stream{std::move(context)}, block_{new block{}}, came_at_{context_->now_ms()} {
  block_->owner = this;
  block_->context = context_;
  block_->open = context_->open;
  if (of == family::tcp)
    uv_tcp_init(context_->uv, &block_->socket.tcp);
  else
    uv_pipe_init(context_->uv, &block_->socket.pipe, 0);
  block_->handle()->data = block_->write.data = block_;
}

std::unique_ptr<socket_stream> socket_stream::adopt(std::shared_ptr<http_context> context, unique_fd socket) {
  std::unique_ptr<socket_stream> made{new socket_stream{std::move(context), family::unix_socket}};
  if (uv_pipe_open(&made->block_->socket.pipe, socket.get()) != 0) return nullptr;
  socket.release();
  return made;
}

std::unique_ptr<socket_stream> socket_stream::accept(std::shared_ptr<http_context> context, uv_stream_s* listener,
                                                     family of, const std::string& where) {
  std::unique_ptr<socket_stream> made{new socket_stream{context, of}};
  auto* b = made->block_;
  made->serial_ = context->enter(*made);
  if (uv_accept(listener, b->stream()) != 0) return nullptr;
  if (of == family::tcp) {
    uv_tcp_nodelay(&b->socket.tcp, 1);
    uv_tcp_keepalive(&b->socket.tcp, 1, probe_after_seconds);
    made->peer_.address = address_of(&b->socket.tcp);
    return made;
  }
  made->peer_.socket = where;
  ucred who{};
  socklen_t size = sizeof who;
  if (getsockopt(made->fd(), SOL_SOCKET, SO_PEERCRED, &who, &size) == 0) {
    made->peer_.uid = who.uid;
    made->peer_.gid = who.gid;
    made->peer_.pid = who.pid;
  }
  return made;
}

std::string socket_stream::host() const {
  if (!peer_.address.empty()) return host_of(peer_.address);
  return context_->limits.hosts_are_sockets ? peer_.socket : "uid " + std::to_string(peer_.uid);
}

bool socket_stream::take_place() {
  auto take = [&] { place_ = context_->hosts.take(host(), context_->limits.connections_per_host); };
  take();
  if (!place_ && context_->make_room(host())) take();
  return place_ != nullptr;
}

void socket_stream::receive(std::string_view bytes) {
  if (user_) user_->on_bytes(bytes);
}

void socket_stream::drop() {
  if (user_) user_->abort();
}

void socket_stream::cut() {
  if (user_) user_->unwelcome();
}

bool socket_stream::speaks_for(std::string address) {
  peer_.address = std::move(address);
  return take_place();
}

socket_stream::~socket_stream() {
  if (serial_) context_->leave(serial_);
  block_->owner = nullptr;
  uv_close(block_->handle(), [](uv_handle_t* h) { delete static_cast<block*>(h->data); });
}

void socket_stream::read(bool on) {
  if (on == reading_ || ended_) return;
  reading_ = on;
  if (on)
    uv_read_start(block_->stream(), block::on_room, block::on_read);
  else
    uv_read_stop(block_->stream());
}

http_stream::sent socket_stream::write(std::span<const std::string_view> pieces) {
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

size_t socket_stream::unwritten() const noexcept { return uv_stream_get_write_queue_size(block_->stream()); }

void socket_stream::finish_writing() { uv_shutdown(&block_->shutdown, block_->stream(), nullptr); }

void socket_stream::set_deadline(std::chrono::milliseconds in) noexcept { context_->set_deadline(*this, in); }

void socket_stream::clear_deadline() noexcept { context_->clear_deadline(*this); }

void socket_stream::deadline_passed() {
  if (user_) user_->on_deadline();
}

int socket_stream::fd() const noexcept {
  uv_os_fd_t fd = -1;
  uv_fileno(block_->handle(), &fd);
  return fd;
}

bool socket_stream::peer_gone() const noexcept {
  pollfd look{fd(), 0, 0};
  return ::poll(&look, 1, 0) > 0 && (look.revents & (POLLHUP | POLLERR | POLLNVAL));
}

bool socket_stream::peer_read_all() const noexcept {
  int waiting = 0;
  return !writing_ && (ioctl(fd(), TIOCOUTQ, &waiting) != 0 || waiting == 0);
}

} // namespace troupe
