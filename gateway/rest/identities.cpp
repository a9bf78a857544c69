#include "actors/identities.hpp"

#include "actors/operation_record.hpp"
#include "actors/server_keys.hpp"
#include "gateway/rest/join_secret.hpp"
#include "gateway/rest/lists.hpp"
#include "gateway/rest/routes.hpp"
#include "gateway/tls_listeners.hpp"
#include "messages/time.hpp"
#include "runtime/certificate.hpp"
#include "runtime/uuid.hpp"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

namespace troupe {
namespace {

using verb = change_identity::verb;
constexpr std::string_view methods[] = {"tls", "oidc"};
constexpr size_t secret_bytes = 32;

bool sees(const rest_request& from, std::string_view key) {
  return from.head->who.may("can_view", {"identity", {}, std::string{key}});
}

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

outcome<void> check_method(std::string_view method) {
  if (std::find(std::begin(methods), std::end(methods), method) != std::end(methods)) return {};
  return fail(fault::not_found, "There is no authentication method \"" + std::string{method} + '"');
}

std::string key_of(const identity_record& record) {
  return record.read([](auto i) { return identity_key(view(i.getAuthenticationMethod()), view(i.getId())); });
}

/// Judged once more: the one that he had the right on by its name may be gone, and another have this name.
outcome<identity_record> named(const rest_request& from, const snapshot& records, std::string_view entitlement) {
  if (auto good = check_method(from.parameter(0)); !good) return tl::unexpected{good.error()};
  auto found = find_identity(records, from.parameter(0), from.parameter(1));
  if (found && !from.head->who.may(entitlement, {"identity", {}, key_of(*found)}))
    return fail(fault::not_found, "Identity not found");
  return found;
}

/// Those of the trust store are changed as what they are.
outcome<std::string> key_to_change(const rest_request& from, verb what) {
  auto records = from.with().db.read();
  auto found = named(from, records, what == verb::remove ? "can_delete" : "can_edit");
  if (!found) return tl::unexpected{found.error()};
  auto key = key_of(*found);
  if (records.get(table::identities, key)) return key;
  return fail(fault::invalid, "This identity is a certificate of the trust store: change /1.0/certificates/" +
                                  found->read([](auto i) { return text(i.getId()); }) + " instead");
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
    auto key = key_to_change(from, what);
    if (!key) return reply_error(from, key.error());
    ask_sync(from, role::identities, "", change_identity{what, from.head, *key, from.etag(), {}, body, given});
  });
}

identity_record wanted(schema::IdentitiesTlsPost::Reader post) {
  return identity_record::make([&](schema::Identity::Builder i) {
    i.setAuthenticationMethod("tls");
    i.setType(std::string{tls_type});
    i.setName(post.getName());
    i.setGroups(post.getGroups());
    i.setTlsCertificate(post.getCertificate());
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

outcome<int64_t> token_end(const snapshot& records) {
  auto span = server_text(records, "core.remote_token_expiry");
  if (span.empty()) return 0;
  return later_by(now_ns() / 1'000'000'000, span);
}

void make_pending(const rest_request& from, const message<schema::IdentitiesTlsPost>& post) {
  auto own = from.context.listeners.identity();
  auto ends = token_end(from.with().db.read());
  if (!own || !ends) return reply_error(from, own ? ends.error() : own.error());
  auto secret = random_hex(secret_bytes), id = pending_id(secret);
  auto record = changed(post.read(wanted), [&](schema::Identity::Builder i) {
    i.setId(id);
    i.setType(std::string{pending_type});
    i.setTokenHash(etag_of(secret));
    i.setTokenExpiresAt(*ends);
  });
  nlohmann::json token{{"client_name", post.read([](auto p) { return text(p.getName()); })},
                       {"fingerprint", (*own)->own().fingerprint},
                       {"addresses", reachable_at(from.context.listeners.present().https)},
                       {"secret", secret},
                       {"expires_at", *ends ? to_rfc3339(*ends * 1'000'000'000) : "0001-01-01T00:00:00Z"},
                       {"type", tls_type}};
  auto ended = [from, token, id](const outcome<operation_record>& last) {
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
      change_identity{verb::create, from.head, {}, {}, record, {}, {}});
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
           change_identity{verb::create, from.head, {}, {}, post.read(wanted), {}, {}});
}

void write_permissions(std::string& out, const rights& given) {
  write_json_name(out, "effective_permissions");
  json_list list;
  for (auto& one : given.all())
    list.next() += to_json(message<schema::Permission>::make([&](schema::Permission::Builder p) {
      p.setEntityType(one.on.type);
      p.setUrl(url_of(one.on));
      p.setEntitlement(one.entitlement);
    }));
  out += std::move(list).take();
}

} // namespace

void get_identities(const rest_request& from) {
  reply_from_blocking_thread(from, [from]() -> outcome<std::string> {
    return from.recursion() == 0 ? list_by_method(from) : list_identities(from, "");
  });
}

void get_identities_of_method(const rest_request& from) {
  if (auto good = check_method(from.parameter(0)); !good) return reply_error(from, good.error());
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
    auto found = named(from, from.with().db.read(), "can_view");
    if (!found) return reply_error(from, found.error());
    reply_sync(from, to_json(*found), etag_of(found->bytes()));
  });
}

void put_identity(const rest_request& from) { change(from, verb::update); }
void patch_identity(const rest_request& from) { change(from, verb::patch); }

void delete_identity(const rest_request& from) { change(from, verb::remove); }

} // namespace troupe
