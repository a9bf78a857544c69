#include "actors/identities.hpp"
#include "gateway/permission_lists.hpp"
#include "gateway/rest/lists.hpp"
#include "gateway/rest/routes.hpp"

#include <map>

namespace troupe {
namespace {

using verb = change_group::verb;

bool sees(const rest_request& from, std::string_view type, std::string_view name) {
  return from.head->who.may("can_view", {std::string{type}, {}, std::string{name}});
}

void write_members(std::string& out, const group_members& all) {
  std::map<std::string_view, std::vector<std::string>> by_method;
  for (std::string_view key : all.identities) {
    auto slash = key.find('/');
    by_method[key.substr(0, slash)].emplace_back(key.substr(slash + 1));
  }
  write_json_name(out, "identities");
  out += '{';
  for (auto& [method, ids] : by_method) write_string_list(out, method, ids);
  out += '}';
  write_string_list(out, "identity_provider_groups", all.mappings);
}

std::string group_json(const rest_request& from, const snapshot& records, const group_record& group) {
  std::string out = "{";
  group.read([&](schema::AuthGroup::Reader g) {
    write_json_fields(out, g);
    write_members(out, members_of_group(from.head->who, records, view(g.getName())));
  });
  return out + '}';
}

/// `show(record bytes)` as JSON, of those that the caller may see.
template <class Show>
void list(const rest_request& from, table where, std::string_view type, std::string_view collection, Show show) {
  reply_from_blocking_thread(from, [from, where, type, collection, show]() -> outcome<std::string> {
    auto records = from.with().db.read();
    json_list out;
    records.scan(where, "", [&](std::string_view name, std::string_view bytes) {
      if (!sees(from, type, name)) return true;
      if (from.recursion() == 0)
        out.url(collection, name);
      else
        out.next() += show(records, bytes);
      return true;
    });
    return std::move(out).take();
  });
}

/// POST, PUT, PATCH of a group or a mapping.
template <class Request, class Put>
void change(const rest_request& from, verb what, const std::string& name, const std::string& location) {
  auto body = body_of<Put>(from);
  auto given = given_fields(from);
  if (!body || !given) return reply_error(from, body ? given.error() : body.error());
  ask_sync(from, role::identities, location, Request{what, from.head, name, {}, from.etag(), *body, *given});
}

template <class Request>
void rename(const rest_request& from, const std::string& type) {
  auto body = body_of<schema::Rename>(from);
  if (!body) return reply_error(from, body.error());
  auto to = body->read([](auto post) { return text(post.getName()); });
  ask_sync(from, role::identities, url_of({type, {}, to}),
           Request{verb::rename, from.head, from.parameter(0), to, from.etag(), {}, {}});
}

template <class Request>
void remove(const rest_request& from) {
  ask_sync(from, role::identities, "", Request{verb::remove, from.head, from.parameter(0), {}, from.etag(), {}, {}});
}

const std::string groups_url = "/1.0/auth/groups/", mappings_url = "/1.0/auth/identity-provider-groups/";

std::string permission_json(const permission& one, const std::vector<std::string>* groups) {
  std::string out = "{";
  record_of(one).read([&](auto p) { write_json_fields(out, p); });
  if (groups) write_string_list(out, "groups", *groups);
  return out + '}';
}

std::string list_permissions(const rest_request& from) {
  auto records = from.with().db.read();
  auto with_groups = from.recursion() > 0;
  auto given = with_groups ? givers(records) : decltype(givers(records)){};
  json_list out;
  each_permission(
      from.head->who, records, from.http->parameter("entity-type"), from.http->parameter("project"),
      [&](const permission& one) { out.next() += permission_json(one, with_groups ? &given[one] : nullptr); });
  return std::move(out).take();
}

} // namespace

void get_auth_groups(const rest_request& from) {
  list(from, table::auth_groups, "group", groups_url, [from](const snapshot& records, std::string_view bytes) {
    return group_json(from, records, group_record::from_bytes(bytes));
  });
}

void get_auth_group(const rest_request& from) {
  bool taken = from.with().blocking.submit([from] { // its members are found among all identities
    auto records = from.with().db.read();
    auto group = load<schema::AuthGroup>(records, table::auth_groups, from.parameter(0));
    if (!group) return reply_error(from, {fault::not_found, "Group not found"});
    reply_sync(from, group_json(from, records, *group), etag_of(group->bytes()));
  });
  if (!taken) reply_error(from, {fault::busy, "The server has too much to do right now; try again"});
}

void post_auth_groups(const rest_request& from) {
  auto post = body_of<schema::AuthGroup>(from);
  if (!post) return reply_error(from, post.error());
  post->read([&](schema::AuthGroup::Reader p) {
    auto body = message<schema::AuthGroupPut>::make([&](schema::AuthGroupPut::Builder put) {
      put.setDescription(p.getDescription());
      put.setPermissions(p.getPermissions());
    });
    auto name = text(p.getName());
    ask_sync(from, role::identities, url_of({"group", {}, name}),
             change_group{verb::create, from.head, name, {}, {}, body, {}});
  });
}

void put_auth_group(const rest_request& from) {
  change<change_group, schema::AuthGroupPut>(from, verb::update, from.parameter(0), "");
}
void patch_auth_group(const rest_request& from) {
  change<change_group, schema::AuthGroupPut>(from, verb::patch, from.parameter(0), "");
}
void post_auth_group(const rest_request& from) { rename<change_group>(from, "group"); }
void delete_auth_group(const rest_request& from) { remove<change_group>(from); }

void get_provider_groups(const rest_request& from) {
  list(from, table::identity_provider_groups, "identity_provider_group", mappings_url,
       [](const snapshot&, std::string_view bytes) { return to_json(provider_group_record::from_bytes(bytes)); });
}

void get_provider_group(const rest_request& from) {
  auto found =
      load<schema::IdentityProviderGroup>(from.with().db.read(), table::identity_provider_groups, from.parameter(0));
  if (!found) return reply_error(from, {fault::not_found, "Identity provider group not found"});
  reply_sync(from, to_json(*found), etag_of(found->bytes()));
}

void post_provider_groups(const rest_request& from) {
  auto post = body_of<schema::IdentityProviderGroup>(from);
  if (!post) return reply_error(from, post.error());
  post->read([&](schema::IdentityProviderGroup::Reader p) {
    auto body = message<schema::IdentityProviderGroupPut>::make([&](auto put) { put.setGroups(p.getGroups()); });
    auto name = text(p.getName());
    ask_sync(from, role::identities, url_of({"identity_provider_group", {}, name}),
             change_provider_group{verb::create, from.head, name, {}, {}, body, {}});
  });
}

void put_provider_group(const rest_request& from) {
  change<change_provider_group, schema::IdentityProviderGroupPut>(from, verb::update, from.parameter(0), "");
}
void patch_provider_group(const rest_request& from) {
  change<change_provider_group, schema::IdentityProviderGroupPut>(from, verb::patch, from.parameter(0), "");
}
void post_provider_group(const rest_request& from) { rename<change_provider_group>(from, "identity_provider_group"); }
void delete_provider_group(const rest_request& from) { remove<change_provider_group>(from); }

void get_permissions(const rest_request& from) {
  auto type = from.http->parameter("entity-type");
  if (!type.empty() && !find_entity_type(type))
    return reply_error(from, {fault::invalid, "There is no entity type \"" + std::string{type} + '"'});
  reply_from_blocking_thread(from, [from]() -> outcome<std::string> { return list_permissions(from); });
}

} // namespace troupe
