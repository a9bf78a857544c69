#include "gateway/oidc/oidc_gate.hpp"

#include "gateway/door.hpp"
#include "gateway/http_parser.hpp"
#include "messages/time.hpp"

#include <future>

namespace troupe {
namespace {

int64_t now_seconds() { return now_ns() / 1'000'000'000; }

/// Empty but there: the client can log in, and has not.
std::optional<std::string> token_of(const http_request& request) {
  constexpr std::string_view scheme = "Bearer";
  auto given = request.header("Authorization");
  if (!same_text(given.substr(0, scheme.size()), scheme)) return std::nullopt;
  given.remove_prefix(scheme.size());
  if (!given.empty() && given.front() != ' ') return std::nullopt;
  return std::string{given.substr(std::min(given.find_first_not_of(' '), given.size()))};
}

caller stranger_at(const std::string& address) { return {{"", "tls", address, ~0u, trust::none}, {}}; }

caller refused(const std::string& address, const error& why) {
  auto out = stranger_at(address);
  out.doubt = why.message;
  out.refused = why;
  return out;
}

principal principal_of(const identity_record& identity, const snapshot& records, const std::string& address) {
  principal out{identity.read([](auto i) { return text(i.getId()); }), "oidc", address, ~0u, trust::none};
  give_groups(out, records, identity);
  return out;
}

std::optional<identity_record> identity_at(const snapshot& records, const std::string& email) {
  return load<schema::Identity>(records, table::identities, identity_key("oidc", email));
}

std::string subject_of(const identity_record& identity) {
  return identity.read([](auto i) { return text(i.getSubject()); });
}

bool is_news(const identity_record& identity, const oidc_login& login) {
  return identity.read([&](schema::Identity::Reader i) {
    bool same =
        (login.name.empty() || view(i.getName()) == login.name) && to_vector(i.getProviderGroups()) == login.groups;
    return !same && login.told_at > i.getToldAt();
  });
}

} // namespace

std::string_view cookie_of(const http_request& request, std::string_view name) {
  auto rest = request.header("Cookie");
  while (!rest.empty()) {
    auto end = std::min(rest.find(';'), rest.size());
    auto one = rest.substr(0, end);
    one.remove_prefix(std::min(one.find_first_not_of(' '), one.size()));
    if (one.starts_with(name) && one.substr(name.size()).starts_with('=')) return one.substr(name.size() + 1);
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return {};
}

identity_provider* oidc_gate::provider(const snapshot& records) {
  auto settings = oidc_settings_of(records);
  if (provider_ && provider_->settings() == settings) return provider_.get();
  sessions_.clear(); // by another provider, or as another client
  provider_ = settings.on() ? std::make_shared<identity_provider>(with_, std::move(settings)) : nullptr;
  return provider_.get();
}

std::optional<caller> oidc_gate::caller_in(const std::string& session, const snapshot& records,
                                           const std::string& address) {
  auto* open = session.empty() ? nullptr : sessions_.find(session, now_seconds());
  auto identity = open ? identity_at(records, open->email) : std::nullopt;
  if (!identity || subject_of(*identity) != open->subject) return std::nullopt;
  return caller{principal_of(*identity, records, address), {}, {}, open->ends};
}

std::optional<caller> oidc_gate::caller_by(const oidc_login& login, const snapshot& records,
                                           const std::string& address) const {
  auto identity = identity_at(records, login.email);
  if (!identity) return std::nullopt;
  if (subject_of(*identity) != login.subject)
    return refused(address, {fault::forbidden, "The identity provider says that this e-mail address is now another "
                                               "person's; an administrator has to delete the identity of before"});
  if (is_news(*identity, login)) return std::nullopt;
  return caller{principal_of(*identity, records, address), {}, {}, login.ends + leeway_seconds};
}

std::optional<caller> oidc_gate::caller_at_once(const http_request& request, const snapshot& records) {
  auto& address = request.peer.address;
  auto out = caller_of(request.peer, records);
  if (address.empty() || out.who.level != trust::none) return out;
  auto token = token_of(request);
  auto session = std::string{cookie_of(request, session_cookie)};
  auto* asked = token || !session.empty() ? provider(records) : nullptr;
  if (!asked) return out;
  if (auto who = caller_in(session, records, address)) return who;
  if (!token) {
    out.doubt = "The session has ended";
    return out;
  }
  if (token->empty()) return refused(address, {fault::forbidden, "No token was brought"});
  auto login = asked->judge_at_once(*token);
  if (!login) return std::nullopt;
  if (!*login) return refused(address, login->error());
  return caller_by(**login, records, address);
}

void oidc_gate::find_caller(const http_request& request, std::function<void(caller)> next) {
  auto records = with_.db.read();
  if (auto known = caller_at_once(request, records)) return next(std::move(*known));
  auto held = provider_; // whatever `next` does
  held->judge(*token_of(request), [this, address = request.peer.address, next](const outcome<oidc_login>& login) {
    login ? enter(*login, address, next) : next(refused(address, login.error()));
  });
}

void oidc_gate::enter(const oidc_login& login, const std::string& address, std::function<void(caller)> next) {
  if (auto known = caller_by(login, with_.db.read(), address)) return next(std::move(*known));
  auto head = std::make_shared<header>();
  head->who = {login.email, "oidc", address, ~0u, trust::none};
  // Also after a refusal: another request of his may have been first.
  auto settle = [this, weak = std::weak_ptr{alive_}, &io = with_.io, login, address, next](const outcome<void>& done) {
    io.post([this, weak, login, address, next, done] {
      if (!weak.lock()) return;
      auto identity = identity_at(with_.db.read(), login.email);
      if (identity && subject_of(*identity) == login.subject)
        return next({principal_of(*identity, with_.db.read(), address), {}, {}, login.ends + leeway_seconds});
      next(refused(address, done ? error{fault::busy, "The identity was changed meanwhile; try again"} : done.error()));
    });
  };
  note_login request{head, login.email, login.name, login.subject, login.groups, login.told_at};
  ask_through<operation_record>(
      role::rest_door, with_, role::identities,
      [&with = with_, settle](const outcome<operation_record>& begun) {
        if (!begun) return settle(tl::unexpected{begun.error()});
        ask_through<operation_record>(
            role::rest_door, with, role::operations,
            [settle](const outcome<operation_record>& ended) {
              settle(ended ? outcome<void>{} : tl::unexpected{ended.error()});
            },
            await_operation{begun->read([](auto op) { return text(op.getId()); })});
      },
      request);
}

void oidc_gate::forget(const std::string& user) {
  with_.io.post([this, weak = std::weak_ptr{alive_}, user] {
    if (weak.lock() && !identity_at(with_.db.read(), user)) sessions_.end_all_of(user);
  });
}

void oidc_gate::close() {
  std::promise<void> done;
  with_.io.post([&] {
    alive_.reset();
    provider_.reset();
    done.set_value();
  });
  done.get_future().wait();
}

} // namespace troupe
