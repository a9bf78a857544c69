#include "gateway/tls_listeners.hpp"

#include "actors/names.hpp"
#include "actors/saga.hpp"
#include "actors/server_keys.hpp"
#include "gateway/certificate_authority.hpp"
#include "gateway/server_certificate.hpp"

#include <algorithm>
#include <caf/event_based_actor.hpp>

namespace troupe {
namespace {

constexpr std::string_view address_key = "core.https_address", proxy_key = "core.https_trusted_proxy";

bool contains(const std::vector<listen_address>& list, const listen_address& one) {
  return std::any_of(list.begin(), list.end(), [&](auto& each) { return each.text == one.text; });
}

bool same_authority(const tls_identity* a, const tls_identity* b) {
  auto *left = a ? a->authority() : nullptr, *right = b ? b->authority() : nullptr;
  return left && right ? *left == *right : left == right;
}

} // namespace

void tls_listeners::open(make_server make) {
  std::lock_guard guard{lock_};
  make_ = std::move(make);
}

void tls_listeners::close() {
  std::lock_guard guard{lock_};
  make_ = nullptr;
  server_.reset();
  now_.clear();
  publish();
}

outcome<void> tls_listeners::load_identity() {
  auto pair = load_or_make_server_certificate(with_.dir.path, with_.server_name);
  if (!pair) return tl::unexpected{pair.error()};
  auto authority = certificate_authority::load(with_.dir.path);
  if (!authority) return tl::unexpected{authority.error()};
  auto made = tls_identity::make(pair->certificate, pair->key, std::move(*authority));
  if (!made) return tl::unexpected{made.error()};
  identity_ = std::move(*made);
  publish();
  return {};
}

outcome<std::shared_ptr<const tls_identity>> tls_listeners::identity() {
  std::lock_guard guard{lock_};
  if (!identity_)
    if (auto done = load_identity(); !done) return tl::unexpected{done.error()};
  return identity_;
}

tls_listeners::facts tls_listeners::present() const {
  std::lock_guard guard{present_lock_};
  return present_;
}

void tls_listeners::publish() {
  facts now{identity_, now_};
  std::lock_guard guard{present_lock_};
  present_ = std::move(now);
}

outcome<void> tls_listeners::add(const std::vector<listen_address>& wanted) {
  if (wanted.empty()) return {};
  if (!make_) return fail(fault::wrong_state, "The daemon is stopping");
  if (!identity_)
    if (auto done = load_identity(); !done) return done;
  if (!server_) {
    server_ = make_();
    server_->use_identity(identity_);
    server_->trust_proxies(words_of(server_text(with_.db.read(), proxy_key)));
  }
  auto before = now_;
  for (auto& one : wanted) {
    if (contains(now_, one)) continue;
    if (auto done = server_->listen_tls(one); !done) {
      for (auto& added : now_)
        if (!contains(before, added)) server_->stop_listening(added.text);
      now_ = std::move(before);
      return done;
    }
    now_.push_back(one);
  }
  return {};
}

outcome<void> tls_listeners::listen(const std::string& addresses) {
  auto wanted = parse_listen_addresses(addresses, default_https_port);
  if (!wanted) return tl::unexpected{wanted.error()};
  std::lock_guard guard{lock_};
  auto done = add(*wanted);
  publish();
  return done;
}

void tls_listeners::apply() {
  std::lock_guard guard{lock_};
  auto records = with_.db.read();
  auto wanted = parse_listen_addresses(server_text(records, address_key), default_https_port);
  if (!wanted || !make_) return;
  for (auto& one : *wanted)
    if (auto done = add({one}); !done) log().error("{}", done.error().message);
  if (!server_) return;
  std::erase_if(now_, [&](const listen_address& one) {
    bool old = !contains(*wanted, one);
    if (old) server_->stop_listening(one.text);
    return old;
  });
  server_->trust_proxies(words_of(server_text(records, proxy_key)));
  publish();
}

outcome<void> tls_listeners::reload() {
  std::lock_guard guard{lock_};
  if (!identity_) return {}; // nobody needs one yet
  auto before = identity_;
  if (auto done = load_identity(); !done) return done;
  if (!server_) return {};
  server_->use_identity(identity_);
  if (!same_authority(before.get(), identity_.get())) server_->disconnect([](const http_peer&) { return true; });
  return {};
}

void tls_listeners::disconnect(const std::function<bool(const http_peer&)>& whom) {
  std::lock_guard guard{lock_};
  if (server_) server_->disconnect(whom);
}

// ---- the actor

namespace {

using step_promise = caf::typed_response_promise<step_result_ptr>;

} // namespace

caf::behavior doors(caf::event_based_actor* self, services& with, tls_listeners& listeners) {
  return {
      [](resume& work) { work.run(); },
      [self, &with, &listeners](const step_act& act) -> caf::result<step_result_ptr> {
        auto promise = self->make_response_promise<step_result_ptr>();
        on_blocking_thread(
            self, with,
            [&listeners, step = act.step]() -> outcome<void> {
              if (step.kind == "door.listen") return listeners.listen(std::string{get(step.args, "addresses")});
              listeners.apply();
              return {};
            },
            [promise](const outcome<void>& done) mutable {
              done ? void(promise.deliver(std::make_shared<const step_result>()))
                   : void(promise.deliver(to_caf(done.error())));
            });
        return promise;
      },
      [self, &with, &listeners](const step_undo&) -> caf::result<caf::unit_t> {
        auto promise = self->make_response_promise<caf::unit_t>();
        on_blocking_thread(
            self, with,
            [&listeners]() -> outcome<void> {
              listeners.apply();
              return {};
            },
            [promise](const outcome<void>&) mutable { promise.deliver(caf::unit); });
        return promise;
      },
  };
}

} // namespace troupe
