#include "gateway/identity_access.hpp"

#include "actors/operation_record.hpp"
#include "gateway/permission_lists.hpp"
#include "gateway/rest/join_secret.hpp"
#include "gateway/rest/lists.hpp"
#include "gateway/rest/routes.hpp"
#include "runtime/certificate.hpp"

#include <map>
#include <nlohmann/json.hpp>

namespace troupe {
namespace {

using verb = change_identity::verb;

bool sees(const rest_request& from, std::string_view key) { return may_view_identity(from.head->who, key); }

std::string url_of_identity(std::string_view method, std::string_view id) {
  return url_of({"identity", {}, identity_key(method, id)});
}

/// Of one method, or all.
std::string list_identities(const rest_request& from, std::string_view method) {
  json_list out;
  each_identity(from.with().db.read(), [&](std::string_view key, const identity_record& one) {
    if (!sees(from, key)) return;
    one.read([&](schema::Identity::Reader i) {
      if (!method.empty() && view(i.getAuthenticationMethod()) != method) return;
      if (from.recursion() == 0)
        write_json_string(out.next(), url_of_identity(view(i.getAuthenticationMethod()), view(i.getId())));
      else
        out.next() += to_json(one);
    });
  });
  return std::move(out).take();
}

std::string list_by_method(const rest_request& from) {
  std::map<std::string, std::vector<std::string>> ids;
  each_identity(from.with().db.read(), [&](std::string_view key, const identity_record& one) {
    if (sees(from, key)) one.read([&](auto i) { ids[text(i.getAuthenticationMethod())].push_back(text(i.getId())); });
  });
  std::string out = "{";
  for (auto& [method, list] : ids) write_string_list(out, method, list);
  return out + '}';
}

outcome<identity_record> named(const rest_request& from, std::string_view entitlement) {
  return named_identity(from.head->who, from.with().db.read(), from.parameter(0), from.parameter(1), entitlement);
}

/// By a name, all of them have to be looked at: not on the loop's thread.
void on_blocking_thread(const rest_request& from, std::function<void()> work) {
  if (!from.with().blocking.submit(std::move(work)))
    reply_error(from, {fault::busy, "The server has too much to do right now; try again"});
}

void change(const rest_request& from, verb what) {
  auto body = what == verb::remove ? outcome<message<schema::IdentityPut>>{} : body_of<schema::IdentityPut>(from);
  auto given = what == verb::remove ? outcome<std::vector<std::string>>{} : given_fields(from);
  if (!body || !given) return reply_error(from, body ? given.error() : body.error());
  on_blocking_thread(from, [from, what, body = *body, given = *given] {
    auto key = key_of_identity_to_change(from.head->who, from.with().db.read(), from.parameter(0), from.parameter(1),
                                         what == verb::remove ? "can_delete" : "can_edit");
    if (!key) return reply_error(from, key.error());
    ask_sync(from, role::identities, "", change_identity{what, from.head, *key, from.etag(), {}, body, given});
  });
}

/// The only answer that has the secret: its hash is what is kept.
void reply_token(const rest_request& from, const nlohmann::json& token, const std::string& id) {
  http_response out;
  out.status = 201;
  out.headers = {{"Content-Type", "application/json"}, {"Location", url_of_identity("tls", id)}};
  out.body.emplace_back(nlohmann::json{{"type", "sync"},
                                       {"status", "Success"},
                                       {"status_code", 200},
                                       {"operation", ""},
                                       {"error_code", 0},
                                       {"error", ""},
                                       {"metadata", token}}
                            .dump() +
                        "\n");
  from.answer.send(std::move(out));
}

void make_pending(const rest_request& from, const message<schema::IdentitiesTlsPost>& post) {
  auto made =
      post.read([&](auto p) { return make_pending_identity(from.with().db.read(), from.context.listeners, p); });
  if (!made) return reply_error(from, made.error());
  auto ended = [from, token = made->token, id = made->id](const outcome<operation_record>& last) {
    if (!last) return reply_error(from, last.error());
    last->read([&](schema::Operation::Reader op) {
      if (op.getState() == schema::Operation::State::SUCCEEDED) return reply_token(from, token, id);
      reply_error(from, {static_cast<fault>(op.getError().getCode()), text(op.getErr())});
    });
  };
  ask<operation_record>(
      from, role::identities,
      [from, ended](const outcome<operation_record>& begun) {
        if (!begun) return reply_error(from, begun.error());
        ask<operation_record>(from, role::operations, ended, await_operation{id_of(*begun)});
      },
      change_identity{verb::create, from.head, {}, {}, made->record, {}, {}});
}

/// A stranger brings a token, and shows the certificate that he wants to be known by.
void join(const rest_request& from, schema::IdentitiesTlsPost::Reader post) {
  auto& shown = from.http->peer.shown;
  if (!shown) return reply_error(from, {fault::invalid, "The connection has shown no client certificate"});
  if (!from.http->peer.vouched)
    return reply_error(from, {fault::forbidden, "The server's authority does not vouch for the certificate"});
  ask_sync(from, role::identities, url_of_identity("tls", shown->fingerprint),
           join_by_token{from.head, to_pem(*shown), join_secret(text(post.getTrustToken()))});
}

void create(const rest_request& from, const message<schema::IdentitiesTlsPost>& post) {
  if (!from.head->who.may("can_create_identities", the_server()))
    return reply_error(from, {fault::forbidden, "not authorized"});
  if (post.read([](auto p) { return p.getToken(); })) {
    return on_blocking_thread(from, [from, post] { make_pending(from, post); }); // may have to make a key
  }
  auto certificate = decode_certificate(post.read([](auto p) { return text(p.getCertificate()); }));
  if (!certificate) return reply_error(from, certificate.error());
  ask_sync(from, role::identities, url_of_identity("tls", certificate->fingerprint),
           change_identity{verb::create, from.head, {}, {}, post.read(tls_identity_of), {}, {}});
}

void write_permissions(std::string& out, const rights& given) {
  write_json_name(out, "effective_permissions");
  json_list list;
  for (auto& one : given.all()) list.next() += to_json(record_of(one));
  out += std::move(list).take();
}

} // namespace

void get_identities(const rest_request& from) {
  reply_from_blocking_thread(from, [from]() -> outcome<std::string> {
    return from.recursion() == 0 ? list_by_method(from) : list_identities(from, "");
  });
}

void get_identities_of_method(const rest_request& from) {
  if (auto good = check_authentication_method(from.parameter(0)); !good) return reply_error(from, good.error());
  reply_from_blocking_thread(from,
                             [from]() -> outcome<std::string> { return list_identities(from, from.parameter(0)); });
}

void get_current_identity(const rest_request& from) {
  auto& who = from.head->who;
  if (who.protocol != "tls" && who.protocol != "oidc")
    return reply_error(from, {fault::invalid, "Who comes by the unix socket has no identity"});
  auto records = from.with().db.read();
  auto record = load<schema::Identity>(records, table::identities, identity_key(who.protocol, who.username));
  auto identity = record ? *record : identity_of_certificate(records, who.username);
  std::string out = "{";
  identity.read([&](schema::Identity::Reader i) { write_json_fields(out, i); });
  write_string_list(out, "effective_groups", who.groups);
  write_permissions(out, who.given ? *who.given : rights{{}});
  write_json_name(out, "fine_grained");
  out += who.level == trust::granted ? "true}" : "false}";
  reply_sync(from, out);
}

void post_tls_identities(const rest_request& from) {
  auto post = body_of<schema::IdentitiesTlsPost>(from);
  if (!post) return reply_error(from, post.error());
  bool stranger = from.head->who.level == trust::none;
  if (!stranger) return create(from, *post);
  post->read([&](schema::IdentitiesTlsPost::Reader p) {
    if (p.getTrustToken().size() == 0) return reply_error(from, {fault::forbidden, "not authorized"});
    join(from, p);
  });
}

void get_identity(const rest_request& from) {
  on_blocking_thread(from, [from] {
    auto found = named(from, "can_view");
    if (!found) return reply_error(from, found.error());
    reply_sync(from, to_json(*found), etag_of(found->bytes()));
  });
}

void put_identity(const rest_request& from) { change(from, verb::update); }
void patch_identity(const rest_request& from) { change(from, verb::patch); }

void delete_identity(const rest_request& from) { change(from, verb::remove); }

} // namespace troupe
