#include "gateway/tls_listeners.hpp"

#include "actors/ask.hpp"
#include "actors/names.hpp"
#include "actors/pools.hpp"
#include "actors/saga.hpp"
#include "actors/server_keys.hpp"
#include "gateway/certificate_authority.hpp"
#include "gateway/guest_door.hpp"
#include "gateway/migration/transfers.hpp"
#include "gateway/oidc/discovery.hpp"
#include "gateway/server_certificate.hpp"

#include <algorithm>
#include <caf/event_based_actor.hpp>

namespace troupe {
namespace {

constexpr std::string_view proxy_key = "core.https_trusted_proxy";

struct door_row {
  std::string_view key;
  uint16_t port; // of an address that names none
};
constexpr door_row door_rows[tls_doors] = {{"core.https_address", default_https_port},
                                           {"core.bus_address", default_bus_port},
                                           {"core.metrics_address", default_metrics_port}};

bool contains(const std::vector<listen_address>& list, const listen_address& one) {
  return std::any_of(list.begin(), list.end(), [&](auto& each) { return each.text == one.text; });
}

bool same_authority(const tls_identity* a, const tls_identity* b) {
  auto *left = a ? a->authority() : nullptr, *right = b ? b->authority() : nullptr;
  return left && right ? *left == *right : left == right;
}

} // namespace

void tls_listeners::open(tls_door which, make_server make) {
  std::lock_guard guard{lock_};
  at(which).make = std::move(make);
}

void tls_listeners::close(tls_door which) {
  std::lock_guard guard{lock_};
  at(which) = {};
  publish();
}

void tls_listeners::cut_also(http_server* local) {
  std::lock_guard guard{lock_};
  local_ = local;
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
  facts now{identity_, at(tls_door::https).now};
  std::lock_guard guard{present_lock_};
  present_ = std::move(now);
}

outcome<void> tls_listeners::begin(door& one) {
  if (!one.make) return fail(fault::wrong_state, "The daemon is stopping");
  if (!identity_)
    if (auto done = load_identity(); !done) return done;
  if (one.server) return {};
  one.server = one.make();
  one.server->use_identity(identity_);
  one.server->trust_proxies(words_of(server_text(with_.db.read(), proxy_key)));
  return {};
}

outcome<void> tls_listeners::add(door& to, const std::vector<listen_address>& wanted) {
  if (wanted.empty()) return {};
  if (auto begun = begin(to); !begun) return begun;
  auto before = to.now;
  for (auto& one : wanted) {
    if (contains(to.now, one)) continue;
    if (auto done = to.server->listen_tls(one); !done) {
      for (auto& added : to.now)
        if (!contains(before, added)) to.server->stop_listening(added.text);
      to.now = std::move(before);
      return done;
    }
    to.now.push_back(one);
  }
  return {};
}

outcome<void> tls_listeners::listen(std::string_view key, const std::string& addresses) {
  auto row = std::find_if(std::begin(door_rows), std::end(door_rows), [&](auto& each) { return each.key == key; });
  if (row == std::end(door_rows)) return fail(fault::internal, "Nothing listens at " + std::string{key});
  auto wanted = parse_listen_addresses(addresses, row->port);
  if (!wanted) return tl::unexpected{wanted.error()};
  std::lock_guard guard{lock_};
  auto done = add(doors_[static_cast<size_t>(row - door_rows)], *wanted);
  publish();
  return done;
}

void tls_listeners::apply(door& to, const std::vector<listen_address>& wanted) {
  for (auto& one : wanted)
    if (auto done = add(to, {one}); !done) log().error("{}", done.error().message);
  if (!to.server) return;
  std::erase_if(to.now, [&](const listen_address& one) {
    bool old = !contains(wanted, one);
    if (old) to.server->stop_listening(one.text);
    return old;
  });
  to.server->trust_proxies(words_of(server_text(with_.db.read(), proxy_key)));
}

void tls_listeners::apply() {
  std::lock_guard guard{lock_};
  auto records = with_.db.read();
  for (size_t i = 0; i < tls_doors; ++i) {
    auto wanted = parse_listen_addresses(server_text(records, door_rows[i].key), door_rows[i].port);
    if (wanted && doors_[i].make) apply(doors_[i], *wanted);
  }
  publish();
}

outcome<void> tls_listeners::reload() {
  std::lock_guard guard{lock_};
  if (!identity_) return {}; // nobody needs one yet
  auto before = identity_;
  if (auto done = load_identity(); !done) return done;
  for (auto& one : doors_)
    if (one.server) one.server->use_identity(identity_);
  bool same = same_authority(before.get(), identity_.get());
  if (!same) cut([](const http_peer& peer) { return !peer.address.empty(); }); // all but plain unix sockets
  return {};
}

void tls_listeners::disconnect(const std::function<bool(const http_peer&)>& whom) {
  std::lock_guard guard{lock_};
  cut(whom);
}

void tls_listeners::cut(const std::function<bool(const http_peer&)>& whom) {
  for (auto& one : doors_)
    if (one.server) one.server->disconnect(whom);
  if (local_) local_->disconnect(whom);
}

// ---- the actor

namespace {

outcome<void> check_provider(const std::string& issuer) {
  auto found = discover(issuer, cancel_token{});
  if (!found) return tl::unexpected{found.error()};
  return {};
}

bool is_move(const saga_step& step) { return step.kind.starts_with("instance."); }

void answer_step(const sure_promise& promise, const outcome<step_result>& done) {
  done ? promise.deliver(step_result_ptr{std::make_shared<const step_result>(*done)})
       : promise.deliver(to_caf(done.error()));
}

void answer_step(const sure_promise& promise, const outcome<void>& done) {
  done ? promise.deliver(caf::unit) : promise.deliver(to_caf(done.error()));
}

/// A step of the migrations under way, on a pool that lends its driver once it is up; undone, it waits for what it
/// undoes.
template <class Work>
caf::response_promise move_in_turn(caf::event_based_actor* self, services& with, const std::string& operation,
                                   const saga_step& step, Work work) {
  std::string pool{get(step.args, "pool")};
  return in_turn(self, with, operation, [self, &with, pool, work](sure_promise promise) {
    auto lent = [self, &with, work, promise](const outcome<driver_ptr>& driver) {
      if (!driver) return promise.deliver(to_caf(driver.error()));
      on_blocking_thread(
          self, with, [work, driver = *driver] { return work(*driver); },
          [promise](const auto& done) { answer_step(promise, done); });
    };
    ask<driver_ptr>(self, with.find(role::pools), borrow_driver{pool}, lent);
  });
}

caf::response_promise perform(caf::event_based_actor* self, services& with, transfers& moves, const step_act& act) {
  return move_in_turn(self, with, act.operation, act.step,
                      [&moves, act](storage_driver& driver) -> outcome<step_result> {
                        if (act.step.kind == "instance.receive") return moves.receive(act, driver);
                        if (auto done = moves.settle(act, driver); !done) return tl::unexpected{done.error()};
                        return step_result{};
                      });
}

} // namespace

caf::behavior doors(caf::event_based_actor* self, services& with, tls_listeners& listeners, guest_door& guests,
                    transfers& moves) {
  return {
      [self, &with, &guests](const open_guest& whom) -> caf::result<std::string> {
        auto promise = promise_of(self);
        on_blocking_thread(
            self, with, [&guests, whom] { return guests.open(whom); },
            [promise](const outcome<std::string>& folder) { answer(promise, folder); });
        return promise;
      },
      [self, &with, &guests](const close_guest& whom) -> caf::result<caf::unit_t> {
        auto promise = promise_of(self);
        on_blocking_thread(
            self, with,
            [&guests, whom]() -> outcome<void> {
              guests.close(whom.id);
              return {};
            },
            [promise](const outcome<void>& done) { answer(promise, done); });
        return promise;
      },
      [](resume& work) { work.run(); },
      [self, &with, &listeners, &moves](const step_act& act) -> caf::result<step_result_ptr> {
        if (is_move(act.step)) return perform(self, with, moves, act);
        auto promise = promise_of(self);
        on_blocking_thread(
            self, with,
            [&listeners, step = act.step]() -> outcome<void> {
              if (step.kind == "oidc.discover") return check_provider(std::string{get(step.args, "issuer")});
              if (step.kind == "door.listen")
                return listeners.listen(get(step.args, "key"), std::string{get(step.args, "addresses")});
              listeners.apply();
              return {};
            },
            [promise](const outcome<void>& done) mutable {
              done ? void(promise.deliver(std::make_shared<const step_result>()))
                   : void(promise.deliver(to_caf(done.error())));
            });
        return promise;
      },
      [&moves](const step_interrupt& stop) { moves.cancel(stop.operation); },
      [&moves](const operation_ended& over) { moves.cancel(over.id); }, // of one that sends: it was cancelled
      [self, &with, &listeners, &moves](const step_undo& undo) -> caf::result<caf::unit_t> {
        if (is_move(undo.step))
          return move_in_turn(self, with, undo.operation, undo.step,
                              [&moves, undo](storage_driver& driver) { return moves.undo(undo, driver); });
        auto promise = promise_of(self);
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
