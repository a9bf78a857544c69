#include "gateway/starttls_gate.hpp"

#include "gateway/http_context.hpp"
#include "gateway/tls_handshake.hpp"

namespace troupe {
namespace {

constexpr std::string_view line = "STARTTLS\n";

} // namespace

void starttls_gate::start(std::unique_ptr<socket_stream> raw) {
  auto made = std::make_shared<starttls_gate>(std::move(raw));
  auto& context = made->raw_->context();
  context.add(made);
  made->raw_->attach(made.get());
  made->raw_->set_deadline(context.limits.idle_timeout);
  made->raw_->read(true);
}

void starttls_gate::on_bytes(std::string_view bytes) {
  auto self = shared_from_this();
  bool first = held_.empty();
  if (!first) bytes = held_ += bytes;
  if (bytes.starts_with(line)) return ask_identity(bytes.substr(line.size()));
  if (!line.starts_with(bytes)) return serve(bytes);
  if (!first) return;
  held_ = bytes;
  raw_->set_deadline(raw_->context().limits.header_timeout);
}

/// What was read is read once more, by whom it is for.
void starttls_gate::serve(std::string_view bytes) {
  auto& context = raw_->context();
  auto& stream = *raw_;
  stream.attach(nullptr);
  context.serve(std::move(raw_)); // ends no stream that has said nothing yet
  context.remove(*this);
  stream.receive(bytes);
}

// The identity's files may have to be made first. Nothing is read meanwhile.
void starttls_gate::ask_identity(std::string_view behind_line) {
  held_ = std::string{behind_line};
  auto& context = raw_->context();
  raw_->read(false);
  raw_->set_deadline(context.limits.handshake_timeout);
  context.starttls([weak = weak_from_this(), door = context.door](std::shared_ptr<const tls_identity> as) {
    auto go_on = [weak, as = std::move(as)] {
      if (auto self = weak.lock()) self->shake_hands(as);
    };
    door->on_thread() ? go_on() : void(door->post(go_on));
  });
}

void starttls_gate::shake_hands(std::shared_ptr<const tls_identity> as) {
  if (!raw_) return; // it ended meanwhile
  if (!as) return close();
  auto& context = raw_->context();
  raw_->attach(nullptr);
  tls_handshake::start(std::move(raw_), std::move(as), held_);
  context.remove(*this);
}

void starttls_gate::close() {
  if (!raw_) return;
  auto self = shared_from_this();
  auto& context = raw_->context();
  raw_.reset();
  context.remove(*this);
}

} // namespace troupe
