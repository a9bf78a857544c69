#include "actors/profiles.hpp"
#include "gateway/bus/check.hpp"
#include "gateway/bus/methods.hpp"
#include "gateway/bus/page.hpp"

namespace troupe::on_bus {
namespace {

using verb = change_profile::verb;
using put_body = message<schema::ProfilePut>;

void fill_view(bus::ProfileView::Builder out, const principal& who, const snapshot& records,
               schema::ProfileSpec::Reader profile) {
  copy_shown(profile, out.initSpec());
  fill_used_by(out, who, users_of_profile(records, view(profile.getProject()), view(profile.getName())));
}

kj::Promise<void> change(const call_ptr& c, const std::optional<place>& thing, change_profile request) {
  request.head = c->at.head;
  return begin(c, thing, role::profiles, std::move(request));
}

} // namespace

kj::Promise<void> list_profiles(const call_ptr& c) {
  return reply_page<bus::Profiles::ListResults, schema::ProfileSpec>(
      c, c->params<bus::Page>(), table::profiles, c->at.head->project + "/",
      [head = c->at.head](auto out, auto& records, auto profile) { fill_view(out, head->who, records, profile); },
      visible_as(c, "profile"));
}

kj::Promise<void> create_profile(const call_ptr& c) {
  auto params = c->params<schema::ProfilesPost>();
  auto body = put_body::make([&](schema::ProfilePut::Builder put) {
    put.setDescription(params.getDescription());
    put.setConfig(params.getConfig());
    put.setDevices(params.getDevices());
  });
  auto name = text(params.getName());
  return change(c, c->at.below(name), {verb::create, nullptr, name, {}, {}, body});
}

kj::Promise<void> view_profile(const call_ptr& c) {
  auto records = c->with().db.read();
  auto profile = load<schema::ProfileSpec>(records, table::profiles, c->at.key());
  if (!profile) refuse(fault::not_found, "Profile not found");
  auto results = c->results<bus::ProfileView>();
  profile->read([&](auto p) { fill_view(results, c->at.head->who, records, p); });
  results.setEtag(etag_of(profile->bytes()));
  return kj::READY_NOW;
}

kj::Promise<void> update_profile(const call_ptr& c) {
  auto params = c->params<bus::Profile::UpdateParams>();
  auto what = params.getGuard().getPatch() ? verb::patch : verb::update;
  return change(c, std::nullopt,
                {what,
                 nullptr,
                 c->at.name(),
                 {},
                 text(params.getGuard().getEtag()),
                 copy_of<schema::ProfilePut>(params.getBody())});
}

kj::Promise<void> rename_profile(const call_ptr& c) {
  auto to = text(c->params<schema::Rename>().getName());
  return change(c, c->at.beside(to), {verb::rename, nullptr, c->at.name(), to, {}, {}});
}

kj::Promise<void> delete_profile(const call_ptr& c) {
  return change(c, std::nullopt, {verb::remove, nullptr, c->at.name(), {}, {}, {}});
}

} // namespace troupe::on_bus
