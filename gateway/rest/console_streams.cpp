#include "gateway/rest/console_streams.hpp"

#include "actors/operation_record.hpp"
#include "gateway/exec_request.hpp"

#include <fcntl.h>
#include <sys/socket.h>

namespace troupe {

console_streams::console_streams(rest_request from, std::string operation, uint16_t width, uint16_t height)
    : from_{std::move(from)}, operation_{std::move(operation)} {
  plan_->width = width;
  plan_->height = height;
}

void console_streams::connected(const std::string& name, std::shared_ptr<websocket> socket) {
  open_[name] = socket;
  std::weak_ptr<console_streams> weak = shared_from_this();
  socket->on_close([weak] {
    if (auto self = weak.lock()) self->leave();
  });
  if (name == "0") return start();
  socket->on_message([weak](std::string text, bool) {
    if (auto self = weak.lock()) self->on_control(text);
  });
}

void console_streams::abandoned() { finish(fail(fault::timed_out, "Timed out waiting for websockets to connect")); }

void console_streams::cut() {
  leave();
  finish(fail(fault::cancelled, "Its owner is not trusted any more"));
}

void console_streams::start() {
  auto self = shared_from_this();
  auto& io = from_.with().io;
  ask<exec_session_ptr>(
      from_, role::instances,
      [self, &io](const outcome<exec_session_ptr>& session) {
        io.post([self, session] {
          if (session)
            self->started(*session);
          else
            self->finish(tl::unexpected{session.error()});
        });
      },
      to_instance{from_.head->project, from_.parameter(0)}, run_exec{from_.head, plan_, true});
}

void console_streams::started(exec_session_ptr session) {
  auto self = shared_from_this();
  session_ = std::move(session);
  if (finished_) return leave(); // cut while the helper began
  watch_ = from_.with().io.watch_readable(session_->done_fd(), [self] { self->ended(); });
  pump_ = fd_pump::start(from_.with().io, unique_fd{fcntl(session_->pty(), F_DUPFD_CLOEXEC, 0)}, open_["0"],
                         fd_pump::direction::both, [](bool) {});
  if (leaving_) leave(); // while the helper began
}

void console_streams::on_control(const std::string& text) {
  auto size = window_size_in(text);
  if (!size) return;
  plan_->width = size->first;
  plan_->height = size->second;
  if (session_) static_cast<void>(session_->resize(size->first, size->second));
}

/// The helper sees the end of what we send, and gets up.
void console_streams::leave() {
  leaving_ = true;
  if (session_) ::shutdown(session_->pty(), SHUT_RDWR);
}

void console_streams::ended() {
  watch_.reset();
  auto result = session_->result();
  if (pump_) pump_->drain_and_stop();
  if (leaving_ || (result && *result == 0)) return finish({});
  if (!result) return finish(tl::unexpected{result.error()});
  finish(fail(fault::in_use, "The console cannot be attached: somebody else is at it, or the instance is going down"));
}

void console_streams::finish(const outcome<void>& how) {
  if (std::exchange(finished_, true)) return;
  watch_.reset();
  for (auto& [name, socket] : open_) socket->close();
  caf::anon_send(from_.with().find(role::operations),
                 finish_live{operation_, how.has_value(), how ? error{} : how.error(), {}});
  from_.context.streams.close(operation_);
  pump_.reset();
  open_.clear();
}

} // namespace troupe
