#include "gateway/rest/display_streams.hpp"

#include "actors/operations.hpp"
#include "actors/records.hpp"

namespace troupe {
namespace {

constexpr size_t viewers_max = 32; // connections; SPICE wants up to ten

} // namespace

display_streams::display_streams(rest_request from, std::string operation, std::string protocol)
    : from_{std::move(from)}, operation_{std::move(operation)}, protocol_{std::move(protocol)} {}

void display_streams::connected(const std::string& name, std::shared_ptr<websocket> socket) {
  std::weak_ptr<display_streams> weak = shared_from_this();
  if (finished_ || (name == "0" && viewers_.size() >= viewers_max)) return socket->close();
  if (name == "control") {
    control_ = socket;
    socket->on_message([](const std::string&, bool) {}); // nothing can be said there
    socket->on_close([weak] {
      if (auto self = weak.lock()) self->finish({});
    });
    return;
  }
  viewers_.insert(socket);
  auto connect = [self = shared_from_this(), socket] {
    auto key = instance_key(self->from_.head->project, self->from_.parameter(0));
    auto screen = std::make_shared<outcome<unique_fd>>(self->from_.with().machines.display(key, self->protocol_));
    self->from_.with().io.post([self, socket, screen] { self->show(socket, std::move(*screen)); });
  };
  if (!from_.with().blocking.submit(connect)) socket->close();
}

void display_streams::show(std::shared_ptr<websocket> socket, outcome<unique_fd> screen) {
  if (finished_) return;
  if (!screen) {
    log().warn("The screen of {}: {}", from_.parameter(0), screen.error().message);
    viewers_.erase(socket);
    return socket->close();
  }
  std::weak_ptr<display_streams> weak = shared_from_this();
  auto held = std::make_shared<std::weak_ptr<fd_pump>>();
  auto pump = fd_pump::start(from_.with().io, std::move(*screen), socket, fd_pump::direction::both,
                             [weak, held, viewer = std::weak_ptr{socket}](bool) {
                               auto self = weak.lock();
                               if (!self) return;
                               if (auto gone = viewer.lock()) {
                                 self->viewers_.erase(gone);
                                 gone->close();
                               }
                               self->pumps_.erase(held->lock());
                             });
  *held = pump;
  pumps_.insert(std::move(pump));
}

void display_streams::abandoned() { finish(fail(fault::timed_out, "Timed out waiting for websockets to connect")); }

void display_streams::cut() { finish(fail(fault::cancelled, "Its owner is not trusted any more")); }

void display_streams::finish(const outcome<void>& how) {
  if (std::exchange(finished_, true)) return;
  auto self = shared_from_this(); // what follows may drop the last other one
  for (auto& pump : std::exchange(pumps_, {})) pump->stop();
  for (auto& socket : std::exchange(viewers_, {})) socket->close();
  if (control_) control_->close();
  control_.reset();
  caf::anon_send(from_.with().find(role::operations),
                 finish_live{operation_, how.has_value(), how ? error{} : how.error(), {}});
  from_.context.streams.close(operation_);
}

} // namespace troupe
