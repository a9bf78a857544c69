#include "gateway/http_connection.hpp"

#include "gateway/http_reply.hpp"

namespace troupe {
namespace {

void deliver(const std::shared_ptr<http_door>& door, std::weak_ptr<http_connection> to, uint64_t serial,
             http_response response) {
  if (door->on_thread()) {
    if (auto connection = to.lock()) connection->answer(serial, std::move(response));
    return;
  }
  auto held = std::make_shared<http_response>(std::move(response));
  door->post([to = std::move(to), serial, held] {
    if (auto connection = to.lock()) connection->answer(serial, std::move(*held));
  });
}

} // namespace

responder::state::~state() {
  if (!answered) deliver(door, connection, serial, error_reply(500, "The request was dropped without an answer"));
}

void responder::state::went_away() {
  gone = true;
  if (auto call = std::exchange(on_gone, nullptr)) call();
}

void responder::send(http_response response) const {
  if (state_->answered.exchange(true)) return;
  response.headers.insert(response.headers.end(), state_->headers.begin(), state_->headers.end());
  deliver(state_->door, state_->connection, state_->serial, std::move(response));
}

void responder::accept_websocket(std::function<void(std::shared_ptr<websocket>)> ready) const {
  if (state_->answered.exchange(true)) return;
  // Always posted: the connection may be in the middle of the bytes behind this request.
  state_->door->post([to = state_->connection, serial = state_->serial, ready = std::move(ready)] {
    if (auto connection = to.lock()) connection->upgrade(serial, ready);
  });
}

void responder::hand_over(std::string protocol, unique_fd ours) const {
  if (state_->answered.exchange(true)) return;
  auto held = std::make_shared<unique_fd>(std::move(ours));
  state_->door->post([to = state_->connection, serial = state_->serial, protocol = std::move(protocol), held] {
    if (auto connection = to.lock()) connection->hand_over(serial, protocol, std::move(*held));
  });
}

void responder::add_header(std::string name, std::string value) const {
  state_->headers.emplace_back(std::move(name), std::move(value));
}

bool responder::gone() const { return state_->gone; }

void responder::on_gone(std::function<void()> call) const {
  auto set = [state = state_, call = std::move(call)] {
    auto connection = state->connection.lock();
    if (connection && connection->waits_for(state->serial)) {
      state->on_gone = call;
    } else if (state->gone) {
      call();
    }
  };
  if (state_->door->on_thread())
    set();
  else
    state_->door->post(std::move(set));
}

} // namespace troupe
