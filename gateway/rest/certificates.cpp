#include "actors/certificates.hpp"
#include "actors/identities.hpp"

#include "gateway/rest/join_secret.hpp"
#include "gateway/rest/lists.hpp"
#include "gateway/rest/routes.hpp"
#include "gateway/tls_listeners.hpp"

#include <nlohmann/json.hpp>

namespace troupe {
namespace {

using verb = change_certificate::verb;

bool is_admin(const rest_request& from) { return from.head->who.level == trust::full; }

// Whom others trust is not a restricted caller's business: he sees himself.
bool may_see(const rest_request& from, std::string_view fingerprint) {
  return is_admin(from) || from.head->who.username == fingerprint ||
         from.head->who.may("can_view", {"certificate", {}, std::string{fingerprint}});
}

outcome<std::string> find(const rest_request& from, const snapshot& records) {
  auto found = full_certificate_fingerprint(records, from.parameter(0));
  if (found && !may_see(from, *found)) return fail(fault::not_found, "Certificate not found");
  if (!found && !is_admin(from)) return fail(fault::not_found, "Certificate not found");
  return found;
}

void change(const rest_request& from, verb what) {
  auto found = find(from, from.with().db.read());
  if (!found) return reply_error(from, found.error());
  auto body = body_of<schema::CertificatePut>(from);
  if (!body) return reply_error(from, body.error());
  auto given = given_fields(from);
  if (!given) return reply_error(from, given.error());
  ask_sync(from, role::certificates, "", change_certificate{what, from.head, *found, from.etag(), *body, *given});
}

// The certificate that is meant: the one in the body, else the one that the connection has shown. A stranger has to
// show the one he wants trusted: it proves that he holds its key.
outcome<std::string> meant_certificate(const rest_request& from, schema::CertificatesPost::Reader post) {
  auto& shown = from.http->peer.shown;
  if (post.getCertificate().size() == 0) {
    if (!shown) return fail(fault::invalid, "No client certificate was given, nor shown by the connection");
    return to_pem(*shown);
  }
  auto given = decode_certificate(view(post.getCertificate()));
  if (!given) return tl::unexpected{given.error()};
  if (!is_admin(from) && (!shown || shown->fingerprint != given->fingerprint))
    return fail(fault::invalid, "The certificate to be trusted must be the one that the connection shows");
  return to_pem(*given);
}

message<schema::CertificatePut> put_of(schema::CertificatesPost::Reader post, const std::string& certificate) {
  return message<schema::CertificatePut>::make([&](schema::CertificatePut::Builder put) {
    put.setName(post.getName());
    put.setType(post.getType().size() > 0 ? post.getType() : "client");
    put.setRestricted(post.getRestricted());
    put.setProjects(post.getProjects());
    put.setCertificate(certificate);
  });
}

std::string location_of(const std::string& pem) {
  auto parsed = parse_certificate(pem);
  return "/1.0/certificates/" + (parsed ? parsed->fingerprint : std::string{});
}

void issue(const rest_request& from, const message<schema::CertificatesPost>& post,
           const std::shared_ptr<const tls_identity>& identity) {
  auto addresses = reachable_at(from.context.listeners.present().https);
  if (addresses.empty())
    return reply_error(from, {fault::invalid, "A token is of no use while the server listens on no network address"});
  ask<issued_token>(
      from, role::certificates,
      [from](const outcome<issued_token>& token) {
        if (!token) return reply_error(from, token.error());
        reply_operation(from, token->record, nlohmann::json{{"secret", token->secret}}.dump());
      },
      issue_token{from.head, post, identity->own().fingerprint, addresses});
}

// The identity may have to be made first: files and keys are for a blocking thread.
void issue_token_for(const rest_request& from, const message<schema::CertificatesPost>& post) {
  if (!is_admin(from)) return reply_error(from, {fault::forbidden, "not authorized"});
  bool taken = from.with().blocking.submit([from, post] {
    auto identity = from.context.listeners.identity();
    if (!identity) return reply_error(from, identity.error());
    issue(from, post, *identity);
  });
  if (!taken) reply_error(from, {fault::busy, "The server has too much to do right now; try again"});
}

// LXD's clients of 5.0 bring the whole token as the password, later ones in a field of its own.
std::string secret_of(schema::CertificatesPost::Reader post) {
  auto given = text(post.getPassword().size() > 0 ? post.getPassword() : post.getTrustToken());
  return join_secret(std::move(given));
}

void add(const rest_request& from, schema::CertificatesPost::Reader post) {
  if (!is_admin(from) && from.head->who.level != trust::none)
    return reply_error(from, {fault::forbidden, "not authorized"});
  auto secret = secret_of(post);
  if (!is_admin(from) && secret.empty()) return reply_error(from, {fault::forbidden, "not authorized"});
  if (!is_admin(from) && !from.http->peer.vouched)
    return reply_error(from, {fault::forbidden, "The server's authority does not vouch for the certificate"});
  auto certificate = meant_certificate(from, post);
  if (!certificate) return reply_error(from, certificate.error());
  auto put = put_of(post, *certificate);
  if (is_admin(from))
    ask_sync(from, role::certificates, location_of(*certificate),
             change_certificate{verb::create, from.head, {}, {}, put, {}});
  else if (is_token_of_identity(from.with().db.read(), secret)) // an older client, which knows of no identities
    ask_sync(from, role::identities, location_of(*certificate), join_by_token{from.head, *certificate, secret});
  else
    ask_sync(from, role::certificates, location_of(*certificate), join_by_secret{from.head, put, secret});
}

} // namespace

void get_certificates(const rest_request& from) {
  auto records = from.with().db.read();
  json_list list;
  records.scan(table::certificates, "", [&](std::string_view fingerprint, std::string_view bytes) {
    if (!may_see(from, fingerprint)) return true;
    if (from.recursion() == 0)
      list.url("/1.0/certificates/", fingerprint);
    else
      list.next() += to_json(certificate_record::from_bytes(bytes));
    return true;
  });
  reply_sync(from, std::move(list).take());
}

void get_certificate(const rest_request& from) {
  auto records = from.with().db.read();
  auto found = find(from, records);
  if (!found) return reply_error(from, found.error());
  auto record = load<schema::Certificate>(records, table::certificates, *found);
  reply_sync(from, to_json(*record), etag_of(record->bytes()));
}

void post_certificates(const rest_request& from) {
  auto post = body_of<schema::CertificatesPost>(from);
  if (!post) return reply_error(from, post.error());
  if (post->read([](auto p) { return p.getToken(); })) return issue_token_for(from, *post);
  post->read([&](auto p) { add(from, p); });
}

void put_certificate(const rest_request& from) { change(from, verb::update); }
void patch_certificate(const rest_request& from) { change(from, verb::patch); }

void delete_certificate(const rest_request& from) {
  auto found = find(from, from.with().db.read());
  if (!found) return reply_error(from, found.error());
  ask_sync(from, role::certificates, "", change_certificate{verb::remove, from.head, *found, {}, {}, {}});
}

} // namespace troupe
