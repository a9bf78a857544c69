#include "gateway/stream_relay.hpp"

#include "gateway/socket_stream.hpp"

#include <array>

namespace troupe {

stream_relay::stream_relay(std::unique_ptr<http_stream> peer, std::unique_ptr<http_stream> ours, doings of)
    : context_{peer->context().shared_from_this()}, peer_{std::move(peer)}, ours_{std::move(ours)}, of_{std::move(of)} {
}

stream_relay::~stream_relay() = default;

void stream_relay::start(std::unique_ptr<http_stream> peer, unique_fd ours, doings of, std::string_view first,
                         std::string_view early) {
  auto socket = socket_stream::adopt(peer->context().shared_from_this(), std::move(ours));
  if (!socket) return;
  auto made = std::make_shared<stream_relay>(std::move(peer), std::move(socket), std::move(of));
  made->context_->add(made);
  made->peer_->attach(made.get());
  made->ours_->attach(&made->our_side_);
  made->peer_->clear_deadline();
  made->peer_->read(true);
  made->ours_->read(true);
  if (!first.empty()) made->forward(*made->ours_, *made->peer_, made->to_peer_, first);
  if (!early.empty() && made->peer_) made->forward(*made->peer_, *made->ours_, made->to_ours_, early);
}

void stream_relay::forward(http_stream& from, http_stream& to, std::string& held, std::string_view bytes) {
  auto self = shared_from_this();
  held.assign(bytes); // `bytes` end with this call
  std::array<std::string_view, 1> pieces{held};
  auto result = to.write(pieces);
  if (result == http_stream::sent::failed) return close();
  if (result == http_stream::sent::later) return from.read(false);
  held = {}; // a waiting connection holds no buffer
}

void stream_relay::written(bool ok, http_stream& from, std::string& held) {
  auto self = shared_from_this();
  if (!ok) return close();
  held = {};
  from.read(true);
}

void stream_relay::close() {
  if (!peer_) return;
  auto self = shared_from_this();
  peer_.reset();
  ours_.reset();
  context_->remove(*this);
}

} // namespace troupe
