#include "gateway/bus/check.hpp"
#include "gateway/bus/methods.hpp"
#include "gateway/bus/page.hpp"
#include "gateway/permission_lists.hpp"

#include <charconv>

namespace troupe::on_bus {
namespace {

using verb = change_group::verb;

// What the two kinds have not in common.
struct group_kind {
  using record = schema::AuthGroup;
  using put = schema::AuthGroupPut;
  using change = change_group;
  static constexpr auto where = table::auth_groups;
  static constexpr auto type = "group", missing = "Group not found";

  static void fill(bus::GroupView::Builder out, const principal& who, const snapshot& records,
                   schema::AuthGroup::Reader from) {
    copy_shown(from, out.initSpec());
    auto members = members_of_group(who, records, view(from.getName()));
    troupe::fill(out.initIdentities(static_cast<unsigned>(members.identities.size())), members.identities);
    troupe::fill(out.initProviderGroups(static_cast<unsigned>(members.mappings.size())), members.mappings);
  }
  static void put_from(put::Builder out, record::Reader from) {
    out.setDescription(from.getDescription());
    out.setPermissions(from.getPermissions());
  }
};

struct mapping_kind {
  using record = schema::IdentityProviderGroup;
  using put = schema::IdentityProviderGroupPut;
  using change = change_provider_group;
  static constexpr auto where = table::identity_provider_groups;
  static constexpr auto type = "identity_provider_group", missing = "Identity provider group not found";

  static void fill(bus::ProviderGroupView::Builder out, const principal&, const snapshot&, record::Reader from) {
    copy_shown(from, out.initSpec());
  }
  static void put_from(put::Builder out, record::Reader from) { out.setGroups(from.getGroups()); }
};

template <class Kind, class Results>
kj::Promise<void> list(const call_ptr& c) {
  return reply_page<Results, typename Kind::record>(
      c, c->params<bus::Page>(), Kind::where, "",
      [head = c->at.head](auto out, auto& records, auto from) { Kind::fill(out, head->who, records, from); },
      [head = c->at.head](std::string_view name) {
        return head->who.may("can_view", {Kind::type, {}, std::string{name}});
      });
}

template <class Kind, class View>
kj::Promise<void> view_one(const call_ptr& c) {
  auto work = [&db = c->with().db, head = c->at.head, name = c->at.name()]() -> outcome<message<View>> {
    auto records = db.read();
    auto found = load<typename Kind::record>(records, Kind::where, name);
    if (!found) return fail(fault::not_found, Kind::missing);
    return message<View>::make([&](typename View::Builder out) {
      found->read([&](auto from) { Kind::fill(out, head->who, records, from); });
      out.setEtag(etag_of(found->bytes()));
    });
  };
  return reply_from_blocking_thread(c, std::move(work));
}

template <class Kind>
kj::Promise<void> create(const call_ptr& c) {
  auto params = c->params<typename Kind::record>();
  auto body = message<typename Kind::put>::make([&](auto put) { Kind::put_from(put, params); });
  auto name = text(params.getName());
  return begin(c, c->at.below(name), role::identities,
               typename Kind::change{verb::create, c->at.head, name, {}, {}, body, {}});
}

template <class Kind, class Params>
kj::Promise<void> update(const call_ptr& c) {
  auto params = c->params<Params>();
  return begin(c, std::nullopt, role::identities,
               typename Kind::change{params.hasGiven() ? verb::patch : verb::update,
                                     c->at.head,
                                     c->at.name(),
                                     {},
                                     text(params.getEtag()),
                                     copy_of<typename Kind::put>(params.getBody()),
                                     to_vector(params.getGiven())});
}

template <class Kind>
kj::Promise<void> rename(const call_ptr& c) {
  auto to = text(c->params<schema::Rename>().getName());
  return begin(c, c->at.beside(to), role::identities,
               typename Kind::change{verb::rename, c->at.head, c->at.name(), to, {}, {}, {}});
}

template <class Kind>
kj::Promise<void> remove(const call_ptr& c) {
  return begin(c, std::nullopt, role::identities,
               typename Kind::change{verb::remove, c->at.head, c->at.name(), {}, {}, {}, {}});
}

} // namespace

kj::Promise<void> list_groups(const call_ptr& c) { return list<group_kind, bus::Groups::ListResults>(c); }
kj::Promise<void> view_group(const call_ptr& c) { return view_one<group_kind, bus::GroupView>(c); }
kj::Promise<void> create_group(const call_ptr& c) { return create<group_kind>(c); }
kj::Promise<void> update_group(const call_ptr& c) { return update<group_kind, bus::Group::UpdateParams>(c); }
kj::Promise<void> rename_group(const call_ptr& c) { return rename<group_kind>(c); }
kj::Promise<void> delete_group(const call_ptr& c) { return remove<group_kind>(c); }

kj::Promise<void> list_provider_groups(const call_ptr& c) {
  return list<mapping_kind, bus::ProviderGroups::ListResults>(c);
}
kj::Promise<void> view_provider_group(const call_ptr& c) { return view_one<mapping_kind, bus::ProviderGroupView>(c); }
kj::Promise<void> create_provider_group(const call_ptr& c) { return create<mapping_kind>(c); }
kj::Promise<void> update_provider_group(const call_ptr& c) {
  return update<mapping_kind, bus::ProviderGroup::UpdateParams>(c);
}
kj::Promise<void> rename_provider_group(const call_ptr& c) { return rename<mapping_kind>(c); }
kj::Promise<void> delete_provider_group(const call_ptr& c) { return remove<mapping_kind>(c); }

kj::Promise<void> list_permissions(const call_ptr& c) {
  using results = bus::Auth::PermissionsResults;
  auto params = c->params<bus::Auth::PermissionsParams>();
  auto page = params.getPage();
  auto type = text(params.getEntityType()), after = text(page.getAfter());
  if (!type.empty() && !find_entity_type(type)) refuse(fault::invalid, "There is no entity type \"" + type + '"');
  size_t before = 0;
  auto [end, problem] = std::from_chars(after.data(), after.data() + after.size(), before);
  if (!after.empty() && (problem != std::errc{} || end != after.data() + after.size()))
    refuse(fault::invalid, "\"after\" is what the page before gave as \"next\"");
  auto most = page.getLimit() == 0 ? page_max : std::min(page.getLimit(), page_max);
  auto work = [&db = c->with().db, head = c->at.head, type, project = text(params.getProject()), before, most,
               filter = filter_of(page)]() -> outcome<message<results>> {
    auto records = db.read();
    auto given = givers(records);
    auto show = [&](bus::PermissionView::Builder out, const permission& one) {
      record_of(one).read([&](auto p) { out.setSpec(p); });
      auto& groups = given[one];
      fill(out.initGroups(static_cast<unsigned>(groups.size())), groups);
    };
    auto wanted = [&](const permission& one) {
      if (filter.empty()) return true;
      capnp::MallocMessageBuilder scratch;
      auto item = scratch.initRoot<bus::PermissionView>();
      show(item, one);
      return passes(filter, item.asReader());
    };
    std::vector<permission> shown;
    size_t counted = 0, next = 0;
    each_permission(head->who, records, type, project, [&](const permission& one) {
      if (++counted <= before || next > 0 || !wanted(one)) return;
      if (shown.size() == most)
        next = counted - 1;
      else
        shown.push_back(one);
    });
    return message<results>::make([&](results::Builder out) {
      auto items = out.initItems(static_cast<unsigned>(shown.size()));
      for (unsigned i = 0; i < shown.size(); ++i) show(items[i], shown[i]);
      if (next > 0) out.setNext(std::to_string(next));
    });
  };
  return reply_from_blocking_thread(c, std::move(work));
}

} // namespace troupe::on_bus
