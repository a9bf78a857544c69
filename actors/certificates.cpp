#include "actors/certificates.hpp"

#include "actors/certificate_change.hpp"
#include "actors/join_attempts.hpp"
#include "actors/operation_record.hpp"
#include "actors/security_event.hpp"
#include "actors/server_keys.hpp"
#include "actors/store_actor.hpp"
#include "actors/trust_password.hpp"
#include "messages/json.hpp"
#include "messages/time.hpp"
#include "runtime/uuid.hpp"

#include <caf/event_based_actor.hpp>
#include <nlohmann/json.hpp>

namespace troupe {

struct token_expired { // INTERNAL
  std::string operation;
};

} // namespace troupe

TROUPE_LOCAL_MESSAGE(troupe::token_expired)

namespace troupe {
namespace {

constexpr size_t tokens_max = 1000;
constexpr size_t checks_max = 4; // passwords looked at at the same time, and waiting
constexpr size_t secret_bytes = 32;
constexpr int64_t second_ns = 1'000'000'000;

struct token {
  std::string operation;
  message<schema::CertificatePut> makes;
};

struct trust_data {
  services& with;
  caf::event_based_actor* self;
  join_attempts attempts;
  std::map<std::string, token> tokens; // by the hash of their secret, which is kept nowhere
  size_t checks = 0;
};
using data_ptr = std::shared_ptr<trust_data>;
using record_promise = sure_promise;

std::string hash_of(const std::string& secret) { return etag_of(secret); }

void record_event(const data_ptr& me, message<schema::Event> event) {
  batch told;
  told.events.push_back(std::move(event));
  propose_quietly(me->self, me->with, std::move(told));
}

void begin(
    const data_ptr& me, const change_certificate& request, record_promise promise,
    std::function<void(bool done)> then = [](bool) {}) {
  auto plan = plan_certificate(me->with.db.read(), request);
  if (!plan) {
    then(false);
    promise.deliver(to_caf(plan.error()));
    return;
  }
  auto begun = [promise, then](const outcome<operation_record>& record) {
    then(record.has_value());
    answer(promise, record);
  };
  ask<operation_record>(me->self, me->with.find(role::operations), begin_saga{*plan}, begun);
}

// ---- tokens

message<schema::CertificatePut> asked_for(const message<schema::CertificatesPost>& request) {
  return request.read([](schema::CertificatesPost::Reader post) {
    return message<schema::CertificatePut>::make([&](schema::CertificatePut::Builder put) {
      put.setName(post.getName());
      put.setType(post.getType().size() > 0 ? post.getType() : "client");
      put.setRestricted(post.getRestricted());
      put.setProjects(post.getProjects());
    });
  });
}

// As LXD's clients read it. The secret is put in for the one who asked, and nobody else.
std::string token_metadata(const issue_token& request, int64_t expires_at) {
  auto json = nlohmann::json{{"secret", ""},
                             {"fingerprint", request.server_fingerprint},
                             {"addresses", request.addresses},
                             {"request", nlohmann::json::parse(to_json(asked_for(request.request)))}};
  if (expires_at) json["expiresAt"] = to_rfc3339(expires_at * second_ns);
  return json.dump();
}

outcome<int64_t> expiry_of(const snapshot& records) {
  auto span = server_text(records, "core.remote_token_expiry");
  if (span.empty()) return 0;
  return later_by(now_ns() / second_ns, span);
}

outcome<void> check_token(const data_ptr& me, const issue_token& request) {
  if (me->tokens.size() >= tokens_max) return fail(fault::too_large, "There are 1000 tokens already; revoke some");
  return asked_for(request.request).read([&](auto put) -> outcome<void> {
    if (put.getName().size() == 0) return fail(fault::invalid, "A token needs the client's name");
    return check_certificate(me->with.db.read(), put);
  });
}

begin_live token_operation(const data_ptr& me, const issue_token& request, int64_t expires_at) {
  auto head = std::make_shared<header>(*request.head);
  head->project.clear();
  begin_live live;
  live.type = schema::Operation::Class::TOKEN;
  live.owner = caf::actor_cast<caf::actor>(me->self);
  live.kind = "certificate.token";
  live.description = "Executing operation";
  live.entity = "token//" + request.request.read([](auto post) { return text(post.getName()); });
  live.head = std::move(head);
  live.metadata = token_metadata(request, expires_at);
  return live;
}

caf::result<issued_token> issue(const data_ptr& me, const issue_token& request) {
  if (auto good = check_token(me, request); !good) return to_caf(good.error());
  auto expires_at = expiry_of(me->with.db.read());
  if (!expires_at) return to_caf(expires_at.error());
  auto promise = promise_of(me->self);
  auto secret = random_hex(secret_bytes);
  auto begun = [me, promise, secret, request, expires = *expires_at](const outcome<operation_record>& record) {
    if (!record) return promise.deliver(to_caf(record.error()));
    auto id = id_of(*record);
    me->tokens.insert_or_assign(hash_of(secret), token{id, asked_for(request.request)});
    if (expires)
      me->self->delayed_send(me->self, std::chrono::nanoseconds{expires * second_ns - now_ns()}, token_expired{id});
    promise.deliver(issued_token{*record, secret});
  };
  ask<operation_record>(me->self, me->with.find(role::operations), token_operation(me, request, *expires_at), begun);
  return promise;
}

void forget_token(const data_ptr& me, const std::string& operation) {
  std::erase_if(me->tokens, [&](auto& each) { return each.second.operation == operation; });
}

void expire(const data_ptr& me, const std::string& operation) {
  forget_token(me, operation);
  me->self->send(me->with.find(role::operations),
                 finish_live{operation, false, {fault::timed_out, "The token has expired"}, {}});
}

// ---- joining

change_certificate creation(const join_by_secret& request, const message<schema::CertificatePut>& makes) {
  auto certificate = request.body.read([](auto put) { return text(put.getCertificate()); });
  auto body = changed(makes, [&](schema::CertificatePut::Builder put) { put.setCertificate(certificate); });
  return {change_certificate::verb::create, request.head, {}, {}, body, {}};
}

/// A token is taken out before it is used: two at the same time must not both get in.
void join_by_token(const data_ptr& me, const join_by_secret& request, const std::string& hash, record_promise promise) {
  auto used = std::move(me->tokens.extract(hash).mapped());
  begin(me, creation(request, used.makes), promise, [me, hash, used](bool done) {
    if (!done) return void(me->tokens.insert_or_assign(hash, used));
    me->self->send(me->with.find(role::operations), finish_live{used.operation, true, {}, {}});
    log().info("A token was used: {}", used.operation);
  });
}

void refuse(const data_ptr& me, const join_by_secret& request, record_promise promise) {
  me->attempts.was_wrong(request.head->who.address, me->self->clock().now());
  record_event(me, security_event(*request.head, "join-refused", schema::Event::Level::WARNING,
                                  "A wrong password or token was given"));
  promise.deliver(to_caf({fault::forbidden, "not authorized"}));
}

caf::result<operation_record> join(const data_ptr& me, const join_by_secret& request) {
  if (auto hash = hash_of(request.secret); me->tokens.contains(hash)) {
    auto promise = promise_of(me->self);
    join_by_token(me, request, hash, promise);
    return promise;
  }
  if (!me->attempts.may_try(request.head->who.address, me->self->clock().now()))
    return to_caf({fault::busy, "Too many wrong passwords or tokens came from your address; try again in a minute"});
  if (me->checks >= checks_max) return to_caf({fault::busy, "Too many others are trying to join; try again"});
  auto promise = promise_of(me->self);
  ++me->checks;
  auto stored = server_text(me->with.db.read(), "core.trust_password");
  on_blocking_thread(
      me->self, me->with,
      [stored, secret = request.secret]() -> outcome<bool> { return password_matches(secret, stored); },
      [me, request, promise](const outcome<bool>& good) mutable {
        --me->checks;
        if (!good) return void(promise.deliver(to_caf(good.error())));
        if (!*good) return refuse(me, request, promise);
        begin(me, creation(request, request.body), promise);
      });
  return promise;
}

} // namespace

caf::behavior certificates(caf::event_based_actor* self, services& with) {
  auto me = std::make_shared<trust_data>(trust_data{with, self, {}, {}});
  return {
      [](resume& work) { work.run(); },
      [me](const change_certificate& request) -> caf::result<operation_record> {
        auto promise = promise_of(me->self);
        begin(me, request, promise);
        return promise;
      },
      [me](const join_by_secret& request) { return join(me, request); },
      [me](const issue_token& request) { return issue(me, request); },
      [me](const operation_ended& last) { forget_token(me, last.id); },
      [me](const token_expired& old) { expire(me, old.operation); },
  };
}

} // namespace troupe
