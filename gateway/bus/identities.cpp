#include "gateway/identity_access.hpp"

#include "actors/operation_record.hpp"
#include "gateway/bus/check.hpp"
#include "gateway/bus/methods.hpp"
#include "gateway/bus/page.hpp"
#include "gateway/permission_lists.hpp"
#include "runtime/certificate.hpp"

#include <kj/encoding.h>
#include <nlohmann/json.hpp>

namespace troupe::on_bus {
namespace {

using verb = change_identity::verb;

void fill_view(bus::IdentityView::Builder out, const identity_record& from) {
  from.read([&](schema::Identity::Reader i) { copy_shown(i, out.initSpec()); });
  out.setEtag(etag_of(from.bytes()));
}

place identity_at(const place& from, const std::string& id) { return from.below("tls").below(id); }

/// Where REST takes anybody, for those who bring a token.
void check_may_create(const call_ptr& c) {
  if (!c->at.head->who.may("can_create_identities", the_server())) refuse(fault::forbidden, "not authorized");
}

message<schema::IdentitiesTlsPost> post_of(capnp::Text::Reader name, capnp::List<capnp::Text>::Reader groups,
                                           capnp::Text::Reader certificate = {}) {
  return message<schema::IdentitiesTlsPost>::make([&](schema::IdentitiesTlsPost::Builder post) {
    post.setName(name);
    post.setGroups(groups);
    post.setCertificate(certificate);
  });
}

/// By its name all of them have to be looked at.
kj::Promise<void> change(const call_ptr& c, change_identity request) {
  request.head = c->at.head;
  auto find = [&db = c->with().db, head = c->at.head, names = c->at.names, what = request.what] {
    return key_of_identity_to_change(head->who, db.read(), names[0], names[1],
                                     what == verb::remove ? "can_delete" : "can_edit");
  };
  return on_blocking_thread(c->at, find).then([c, request](std::string&& key) mutable {
    request.key = std::move(key);
    return begin(c, std::nullopt, role::identities, std::move(request));
  });
}

} // namespace

kj::Promise<void> list_identities(const call_ptr& c) {
  using results = bus::Identities::ListResults;
  auto page = c->params<bus::Page>();
  auto work = [&db = c->with().db, head = c->at.head, after = text(page.getAfter()), limit = page.getLimit(),
               filter = filter_of(page)]() -> outcome<message<results>> {
    std::map<std::string, identity_record, std::less<>> wanted;
    each_identity(db.read(), [&](std::string_view key, const identity_record& one) {
      if (key <= after || !may_view_identity(head->who, key)) return;
      capnp::MallocMessageBuilder scratch;
      auto item = scratch.initRoot<bus::IdentityView>();
      fill_view(item, one);
      if (filter.empty() || passes(filter, item.asReader())) wanted.emplace(key, one);
    });
    auto most = limit == 0 ? page_max : std::min(limit, page_max);
    return message<results>::make([&](results::Builder out) {
      auto shown = std::min<size_t>(wanted.size(), most);
      auto items = out.initItems(static_cast<unsigned>(shown));
      auto at = wanted.begin();
      for (unsigned i = 0; i < shown; ++i, ++at) {
        fill_view(items[i], at->second);
        if (i + 1 == shown && shown < wanted.size()) out.setNext(at->first);
      }
    });
  };
  return reply_from_blocking_thread(c, std::move(work));
}

kj::Promise<void> view_identity(const call_ptr& c) {
  return reply_from_blocking_thread(
      c, [&db = c->with().db, head = c->at.head, names = c->at.names]() -> outcome<message<bus::IdentityView>> {
        auto found = named_identity(head->who, db.read(), names[0], names[1], "can_view");
        if (!found) return tl::unexpected{found.error()};
        return message<bus::IdentityView>::make([&](auto out) { fill_view(out, *found); });
      });
}

kj::Promise<void> current_identity(const call_ptr& c) {
  auto& who = c->at.head->who;
  if (who.protocol != "tls") refuse(fault::invalid, "Who comes by the unix socket has no identity");
  auto records = c->with().db.read();
  auto identity = troupe::identity_at(records, "tls", who.username);
  auto results = c->results<bus::Identities::CurrentResults>();
  (identity ? *identity : identity_of_certificate(records, who.username)).read([&](schema::Identity::Reader i) {
    copy_shown(i, results.initIdentity());
  });
  fill(results.initEffectiveGroups(static_cast<unsigned>(who.groups.size())), who.groups);
  results.setFineGrained(who.level == trust::granted);
  if (!who.given) return kj::READY_NOW;
  auto list = results.initEffectivePermissions(static_cast<unsigned>(who.given->all().size()));
  for (unsigned i = 0; i < list.size(); ++i)
    record_of(who.given->all()[i]).read([&](auto p) { list.setWithCaveats(i, p); });
  return kj::READY_NOW;
}

kj::Promise<void> create_identity(const call_ptr& c) {
  check_may_create(c);
  auto params = c->params<bus::Identities::CreateParams>();
  auto certificate = value_of(decode_certificate(view(params.getCertificate())));
  auto record = post_of(params.getName(), params.getGroups(), params.getCertificate()).read(tls_identity_of);
  return begin(c, identity_at(c->at, certificate.fingerprint), role::identities,
               change_identity{verb::create, c->at.head, {}, {}, record, {}, {}});
}

kj::Promise<void> invite_identity(const call_ptr& c) {
  check_may_create(c);
  auto params = c->params<bus::Identities::InviteParams>();
  auto make = [&db = c->with().db, &listeners = c->at.of->listeners,
               post = post_of(params.getName(), params.getGroups())] {
    return post.read([&](auto p) { return make_pending_identity(db.read(), listeners, p); });
  };
  return on_blocking_thread(c->at, make).then([c](pending_identity&& made) {
    change_identity request{verb::create, c->at.head, {}, {}, made.record, {}, {}};
    return ask<operation_record>(c->at, role::identities, std::move(request))
        .then([c](operation_record&& begun) {
          return ask<operation_record>(c->at, role::operations, await_operation{id_of(begun)});
        })
        .then([c, made = std::move(made)](operation_record&& ended) {
          check_success(ended);
          auto token = made.token.dump();
          c->results<bus::Identities::InviteResults>().setToken(
              kj::encodeBase64(kj::StringPtr{token.c_str(), token.size()}.asBytes()));
          reply_operation(c, ended, identity_at(c->at, made.id));
        });
  });
}

kj::Promise<void> update_identity(const call_ptr& c) {
  auto params = c->params<bus::Identity::UpdateParams>();
  change_identity request;
  request.what = params.hasGiven() ? verb::patch : verb::update;
  request.etag = text(params.getEtag());
  request.body = copy_of<schema::IdentityPut>(params.getBody());
  request.given = to_vector(params.getGiven());
  return change(c, std::move(request));
}

kj::Promise<void> delete_identity(const call_ptr& c) {
  change_identity request;
  request.what = verb::remove;
  return change(c, std::move(request));
}

} // namespace troupe::on_bus
