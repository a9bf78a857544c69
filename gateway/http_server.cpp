#include "gateway/http_server.hpp"

#include "gateway/http_connection.hpp"
#include "gateway/http_context.hpp"
#include "gateway/http_listener.hpp"
#include "gateway/http_reply.hpp"
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
  uv_pipe_t pipe{};
  std::shared_ptr<http_context> context;
  std::shared_ptr<void> open;

  uv_handle_t* handle() noexcept { return reinterpret_cast<uv_handle_t*>(&pipe); }

  static void on_connection(uv_stream_t* listener, int status) {
    auto& context = static_cast<accepting*>(listener->data)->context;
    if (status != 0) return;
    auto stream = http_stream::accept(context, listener);
    if (!stream) return;
    if (context->streams <= context->limits.connections_max) return http_connection::start(std::move(stream));
    static const std::string full = [] {
      auto response = error_reply(503, "Too many connections");
      reply_frame frame{.keep_alive = false};
      return reply_head(response, frame) + std::get<std::string>(response.body.front());
    }();
    std::array<std::string_view, 1> pieces{full};
    stream->write(pieces);
  }

  void close() {
    uv_close(handle(), [](uv_handle_t* h) { delete static_cast<accepting*>(h->data); });
  }
};

} // namespace

struct http_server::data {
  loop& on;
  std::shared_ptr<http_context> context;
  std::promise<void> all_closed;
  std::vector<unix_listener> files; // as accepting_: only by the thread that owns the server, or the loop's for it
  std::vector<accepting*> listeners;

  void close_listeners() {
    for (auto* one : listeners) one->close();
    listeners.clear();
    files.clear();
  }
};

http_server::http_server(loop& on, http_limits limits, std::string spool_dir, rule body, handler handle)
    : data_{
          new data{on,
                   std::make_shared<http_context>(on, limits, std::move(spool_dir), std::move(body), std::move(handle)),
                   {},
                   {},
                   {}}} {
  std::signal(SIGPIPE, SIG_IGN);
  auto* all = &data_->all_closed;
  data_->context->open = std::shared_ptr<void>{this, [all](void*) { all->set_value(); }};
}

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
    auto* one = new accepting{{}, data_->context, data_->context->open};
    uv_pipe_init(data_->context->uv, &one->pipe, 0);
    one->pipe.data = one;
    auto socket = made->take_socket();
    failed = uv_pipe_open(&one->pipe, socket.get());
    if (!failed) {
      socket.release();
      failed = uv_listen(reinterpret_cast<uv_stream_t*>(&one->pipe), SOMAXCONN, accepting::on_connection);
    }
    if (failed) return one->close();
    data_->listeners.push_back(one);
    data_->files.push_back(std::move(*made));
  });
  if (failed) return fail_errno(-failed, "Cannot listen on " + path);
  return {};
}

void http_server::stop_listening() {
  run_on(data_->on, [this] { data_->close_listeners(); });
}

size_t http_server::connections() const { return data_->context->streams; }

} // namespace troupe
