#include "gateway/tls_handshake.hpp"

#include "gateway/certificate_authority.hpp"
#include "gateway/http_context.hpp"
#include "gateway/tls_stream.hpp"
#include "runtime/listen_address.hpp"

#include <algorithm>
#include <array>
#include <uv.h>

namespace troupe {
namespace {

constexpr std::string_view unix_address = "@";

} // namespace

tls_handshake::tls_handshake(std::unique_ptr<socket_stream> raw, std::shared_ptr<const tls_identity> as)
    : raw_{std::move(raw)}, session_{std::move(as)} {
  if (raw_->peer().address.empty()) return; // a unix socket has no proxy before it
  auto& proxies = raw_->context().proxies;
  expects_proxy_ = std::find(proxies.begin(), proxies.end(), host_of(raw_->peer().address)) != proxies.end();
}

void tls_handshake::start(std::unique_ptr<socket_stream> raw, std::shared_ptr<const tls_identity> as,
                          std::string_view first) {
  auto made = std::make_shared<tls_handshake>(std::move(raw), std::move(as));
  auto& context = made->raw_->context();
  bool counts = made->expects_proxy_ || made->raw_->place(); // later, or already
  if (!counts && !made->raw_->take_place()) return;
  context.add(made);
  made->raw_->attach(made.get());
  made->raw_->set_deadline(context.limits.handshake_timeout);
  made->raw_->read(true);
  if (!first.empty()) made->on_bytes(first);
}

void tls_handshake::on_bytes(std::string_view bytes) {
  auto self = shared_from_this();
  if (failed_ || waiting_) return;
  if (expects_proxy_ && !read_proxy_header(bytes)) return;
  session_.receive(bytes);
  if (!done_) step();
}

/// False: wait for more, or it is over. Else `bytes` is what follows.
bool tls_handshake::read_proxy_header(std::string_view& bytes) {
  proxy_bytes_ += bytes;
  auto header = parse_proxy_header(proxy_bytes_);
  if (header.state == proxy_header::more) return false;
  if (header.state == proxy_header::broken) {
    close();
    return false;
  }
  expects_proxy_ = false;
  bool welcome = header.address.empty() ? raw_->take_place() : raw_->speaks_for(header.address);
  if (!welcome) {
    close();
    return false;
  }
  bytes = std::string_view{proxy_bytes_}.substr(header.size);
  return true;
}

// Nothing is read meanwhile, and nothing else looks at the session.
void tls_handshake::step() {
  struct job {
    uv_work_t request{};
    std::shared_ptr<tls_handshake> of;
    std::shared_ptr<void> open; // the server waits for it
    tls_session::progress progress = tls_session::progress::failed;
  };
  auto& context = raw_->context();
  raw_->read(false);
  waiting_ = true;
  auto* made = new job{{}, shared_from_this(), context.open};
  made->request.data = made;
  auto work = [](uv_work_t* request) {
    auto* mine = static_cast<job*>(request->data);
    mine->progress = mine->of->session_.handshake();
  };
  auto ended = [](uv_work_t* request, int) {
    std::unique_ptr<job> mine{static_cast<job*>(request->data)};
    mine->of->stepped(mine->progress);
  };
  uv_queue_work(context.uv, &made->request, work, ended); // fails only for a missing callback
}

void tls_handshake::stepped(tls_session::progress progress) {
  auto self = shared_from_this();
  waiting_ = false;
  if (!raw_) return; // it ended meanwhile
  raw_->read(true);
  failed_ = progress == tls_session::progress::failed;
  done_ = progress == tls_session::progress::done;
  if (send()) on_written(true);
}

/// True: all is sent.
bool tls_handshake::send() {
  if (raw_->writing()) return false;
  wire_.clear();
  session_.take_wire(wire_);
  if (wire_.empty()) return true;
  std::array<std::string_view, 1> pieces{wire_};
  auto result = raw_->write(pieces);
  if (result == http_stream::sent::failed) failed_ = true;
  return result != http_stream::sent::later;
}

void tls_handshake::on_written(bool ok) {
  auto self = shared_from_this();
  if (!ok || failed_) return close();
  if (waiting_) return; // `stepped` goes on
  if (session_.has_wire() && !send()) return;
  if (failed_) return close();
  if (done_) finish();
}

void tls_handshake::finish() {
  auto& context = raw_->context();
  auto peer = raw_->peer();
  if (peer.address.empty())
    peer = {.address = std::string{unix_address}}; // no rights of the socket's peer get behind here
  if (auto der = session_.peer_der(); !der.empty()) {
    auto shown = parse_certificate(der);
    if (!shown) return close();
    auto* authority = session_.identity().authority();
    peer.has_authority = authority != nullptr;
    peer.vouched = !authority || authority->vouches_for(*shown);
    peer.shown = std::make_shared<const certificate>(std::move(*shown));
  }
  raw_->read(false);
  raw_->attach(nullptr);
  auto stream = std::make_unique<tls_stream>(std::move(raw_), std::move(session_), std::move(peer));
  context.remove(*this);
  context.serve(std::move(stream));
}

void tls_handshake::close() {
  if (!raw_) return;
  auto self = shared_from_this();
  auto& context = raw_->context();
  raw_.reset();
  context.remove(*this);
}

} // namespace troupe
