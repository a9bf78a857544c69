#include "gateway/http_server.hpp"

#include "gateway/http_connection.hpp"
#include "gateway/http_context.hpp"
#include "gateway/http_listener.hpp"
#include "gateway/http_reply.hpp"
#include "gateway/socket_stream.hpp"
#include "gateway/starttls_gate.hpp"
#include "gateway/tls_handshake.hpp"
#include "runtime/listen_address.hpp"
#include "runtime/loop.hpp"

#include <array>
#include <csignal>
#include <future>
#include <sys/socket.h>
#include <uv.h>

namespace troupe {
namespace {

/// On the loop's thread, whichever we are on; waits for it.
template <class Work>
void run_on(loop& on, Work work) {
  if (on.on_thread()) return work();
  std::promise<void> ran;
  on.post([&] {
    work();
    ran.set_value();
  });
  ran.get_future().wait();
}

/// What libuv knows of one listening socket; freed when libuv has closed it.
struct accepting {
  union {
    uv_stream_t any;
    uv_pipe_t pipe;
    uv_tcp_t tcp;
  } socket{};
  std::string where;
  std::shared_ptr<http_context> context;
  std::shared_ptr<void> open;

  uv_handle_t* handle() noexcept { return reinterpret_cast<uv_handle_t*>(&socket); }

  int fd() noexcept {
    uv_os_fd_t fd = -1;
    uv_fileno(handle(), &fd);
    return fd;
  }

  // For the one that has just come.
  static bool has_room(http_context& context) {
    return context.streams <= context.limits.connections_max || context.make_room("");
  }

  static void on_unix_connection(uv_stream_t* listener, int status) {
    auto& context = static_cast<accepting*>(listener->data)->context;
    if (status != 0) return;
    auto stream = socket_stream::accept(context, listener, socket_stream::family::unix_socket,
                                        static_cast<accepting*>(listener->data)->where);
    if (!stream) return;
    if (has_room(*context) && stream->take_place())
      return context->starttls ? starttls_gate::start(std::move(stream)) : context->serve(std::move(stream));
    static const std::string full = [] {
      auto response = error_reply(503, "Too many connections");
      reply_frame frame{.keep_alive = false};
      return reply_head(response, frame) + std::get<std::string>(response.body.front());
    }();
    std::array<std::string_view, 1> pieces{full};
    stream->write(pieces);
  }

  static void on_tcp_connection(uv_stream_t* listener, int status) {
    auto& context = static_cast<accepting*>(listener->data)->context;
    if (status != 0) return;
    auto stream = socket_stream::accept(context, listener, socket_stream::family::tcp, "");
    if (stream && has_room(*context)) tls_handshake::start(std::move(stream), context->identity);
  }

  void close() {
    uv_close(handle(), [](uv_handle_t* h) { delete static_cast<accepting*>(h->data); });
  }
};

using family = socket_stream::family;

/// Listens on a socket that is bound already. 0, or libuv's error; then it is closed.
int begin_accepting(accepting* one, unique_fd socket, family of) {
  auto* uv = one->context->uv;
  one->handle()->data = one;
  int failed = 0;
  if (of == family::tcp) {
    uv_tcp_init(uv, &one->socket.tcp);
    failed = uv_tcp_open(&one->socket.tcp, socket.get());
  } else {
    uv_pipe_init(uv, &one->socket.pipe, 0);
    failed = uv_pipe_open(&one->socket.pipe, socket.get());
  }
  one->handle()->data = one; // init cleared nothing of ours, but says so nowhere
  if (!failed) {
    socket.release();
    failed = uv_listen(&one->socket.any, SOMAXCONN,
                       of == family::tcp ? accepting::on_tcp_connection : accepting::on_unix_connection);
  }
  if (failed) one->close();
  return failed;
}

} // namespace

struct http_server::data {
  data(loop& l, std::shared_ptr<http_context> c) : on{l}, context{std::move(c)} {
    std::signal(SIGPIPE, SIG_IGN);
    context->open = std::shared_ptr<void>{this, [all = &all_closed](void*) { all->set_value(); }};
  }

  loop& on;
  std::shared_ptr<http_context> context;
  std::promise<void> all_closed;
  std::map<std::string, unix_listener>
      files; // by path; as accepting_: only by the thread that owns the server, or the loop's for it
  std::vector<accepting*> listeners;

  void close_listeners() {
    for (auto* one : listeners) one->close();
    listeners.clear();
    files.clear();
  }
};

http_server::http_server(loop& on, http_limits limits, std::string spool_dir, rule body, handler handle)
    : data_{std::make_shared<data>(
          on, std::make_shared<http_context>(on, limits, std::move(spool_dir), std::move(body), std::move(handle)))} {}

http_server::http_server(loop& on, http_limits limits, streams serve)
    : data_{std::make_shared<data>(on, std::make_shared<http_context>(on, limits, std::move(serve)))} {}

http_server::~http_server() {
  auto closed = data_->all_closed.get_future();
  run_on(data_->on, [this] {
    data_->close_listeners();
    data_->context->abort_all();
  });
  closed.wait(); // libuv has let go of every handle and file job
  data_->context->door->shut();
}

outcome<void> http_server::listen_unix(const std::string& path, int mode) {
  auto made = unix_listener::open(path, mode);
  if (!made) return tl::unexpected{made.error()};
  int failed = 0;
  run_on(data_->on, [&] {
    auto* one = new accepting{{}, path, data_->context, data_->context->open};
    failed = begin_accepting(one, made->take_socket(), family::unix_socket);
    if (failed) return;
    data_->listeners.push_back(one);
    data_->files.emplace(path, std::move(*made));
  });
  if (failed) return fail_errno(-failed, "Cannot listen on " + path);
  return {};
}

outcome<void> http_server::listen_tls(const listen_address& where) {
  outcome<void> done;
  run_on(data_->on, [&] {
    std::vector<int> own;
    auto same_port = ':' + std::to_string(where.port());
    for (auto* one : data_->listeners)
      if (one->where.ends_with(same_port)) own.push_back(one->fd());
    auto socket = listen_tcp(where, own);
    if (!socket) {
      done = tl::unexpected{socket.error()};
      return;
    }
    auto* one = new accepting{{}, where.text, data_->context, data_->context->open};
    if (int failed = begin_accepting(one, std::move(*socket), family::tcp))
      done = fail_errno(-failed, "Cannot listen on " + where.text);
    else
      data_->listeners.push_back(one);
  });
  return done;
}

void http_server::use_identity(std::shared_ptr<const tls_identity> identity) {
  run_on(data_->on, [&] { data_->context->identity = std::move(identity); });
}

void http_server::offer_starttls(identity_source identity) {
  run_on(data_->on, [&] { data_->context->starttls = std::move(identity); });
}

void http_server::trust_proxies(std::vector<std::string> addresses) {
  run_on(data_->on, [&] { data_->context->proxies = std::move(addresses); });
}

void http_server::disconnect(const std::function<bool(const http_peer&)>& whom) {
  run_on(data_->on, [&] { data_->context->disconnect(whom); });
}

void http_server::stop_listening(const std::string& where) {
  run_on(data_->on, [&] {
    std::erase_if(data_->listeners, [&](accepting* one) {
      bool meant = one->where == where;
      if (meant) one->close();
      return meant;
    });
    data_->files.erase(where);
  });
}

void http_server::stop_listening() {
  run_on(data_->on, [this] { data_->close_listeners(); });
}

size_t http_server::connections() const { return data_->context->streams; }

} // namespace troupe
