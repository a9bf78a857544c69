#include "gateway/migration/transfer_link.hpp"

#include "gateway/migration/wire.hpp"

namespace troupe {
namespace {

constexpr std::chrono::seconds patience{11}; // live_streams gives up after 10
constexpr std::chrono::seconds last_words{2};

} // namespace

outcome<void> transfer_link::connect(websocket_dialer& dialer) {
  if (to_) {
    for (auto& [name, secret] : {std::pair{"control", to_->control}, {"fs", to_->data}}) {
      auto socket = dialer.dial(to_->where, secret);
      if (!socket) return tl::unexpected{socket.error()};
      connected(name, std::move(*socket));
    }
  }
  std::unique_lock held{lock_};
  changed_.wait_for(held, patience, [this] { return why_ || (control_ && data_); });
  if (why_) return tl::unexpected{*why_};
  if (!control_ || !data_) return fail(fault::timed_out, "Timed out waiting for the streams of the migration");
  return {};
}

void transfer_link::connected(const std::string& name, std::shared_ptr<websocket> socket) {
  auto channel = message_channel::over(std::move(socket));
  {
    std::lock_guard guard{lock_};
    if (!why_) (name == "control" ? control_ : data_) = channel;
  }
  changed_.notify_all(); // else it closes with the last reference
}

void transfer_link::on_end(std::function<void()> call) {
  {
    std::lock_guard guard{lock_};
    if (!why_) {
      on_end_ = std::move(call);
      return;
    }
  }
  call();
}

void transfer_link::end(error why) {
  std::function<void()> told;
  std::shared_ptr<message_channel> control, data;
  {
    std::lock_guard guard{lock_};
    if (!why_) why_ = std::move(why);
    control = control_;
    data = data_;
    told = std::exchange(on_end_, nullptr);
  }
  changed_.notify_all();
  if (told) told();
  if (control) control->close();
  if (data) data->close();
}

void transfer_link::accept() {
  std::lock_guard guard{lock_};
  if (control_) control_->send(encode_verdict(std::nullopt));
}

void transfer_link::refuse(const error& why) {
  std::lock_guard guard{lock_};
  if (control_) control_->send(encode_verdict(why_ ? *why_ : why));
}

void transfer_link::close() { end({fault::cancelled, "The migration is over"}); }

void transfer_link::abandoned() { end({fault::timed_out, "Timed out waiting for the streams of the migration"}); }

void transfer_link::cut() { end({fault::cancelled, "Its owner is not trusted any more"}); }

error transfer_link::explain(error what) {
  std::shared_ptr<message_channel> control;
  {
    std::lock_guard guard{lock_};
    if (why_) return *why_;
    control = control_;
  }
  if (!control) return what;
  auto said = control->receive(last_words);
  if (!said || said->ends_part()) return what;
  auto verdict = decode_verdict(said->data);
  return verdict ? what : verdict.error();
}

} // namespace troupe
