#include "actors/profiles.hpp"

#include "gateway/rest/all_projects.hpp"
#include "gateway/rest/lists.hpp"
#include "gateway/rest/routes.hpp"

namespace troupe {
namespace {

using verb = change_profile::verb;
using profile_record = message<schema::ProfileSpec>;

std::string profile_json(const rest_request& from, const snapshot& records, const profile_record& profile) {
  std::string out = "{";
  profile.read([&](schema::ProfileSpec::Reader p) {
    write_json_fields(out, p);
    write_json_name(out, "project");
    write_json_string(out, view(p.getProject()));
    write_used_by(out, from.head->who, users_of_profile(records, view(p.getProject()), view(p.getName())));
  });
  return out + "}";
}

// Ansible's module sends back the whole answer that it got, with its changes beside it.
constexpr const char* of_an_answer[] = {"type",       "status", "status_code", "operation",
                                        "error_code", "error",  "metadata"};

outcome<message<schema::ProfilePut>> wanted_of(const rest_request& from) {
  auto json = json_body(from);
  if (!json) return tl::unexpected{json.error()};
  if (json->is_object() && json->value("type", nlohmann::json{}) == "sync")
    for (auto field : of_an_answer) json->erase(field);
  return message_from<schema::ProfilePut>(*json);
}

void change(const rest_request& from, verb what, const std::string& name, const std::string& location) {
  auto body = wanted_of(from);
  if (!body) return reply_error(from, body.error());
  ask_sync(from, role::profiles, location, change_profile{what, from.head, name, {}, from.etag(), *body});
}

} // namespace

void get_profiles(const rest_request& from) {
  reply_from_blocking_thread(from, [from]() -> outcome<std::string> {
    auto records = from.with().db.read();
    json_list list;
    bool all = is_true(from.http->parameter("all-projects"));
    records.scan(table::profiles, all ? "" : from.head->project + "/",
                 [&](std::string_view key, std::string_view bytes) {
                   auto thing = split_key(key);
                   if (!from.head->who.may("can_view", {"profile", all ? thing.project : from.project, thing.name}))
                     return true;
                   if (from.recursion() == 0)
                     list.url("/1.0/profiles/", all ? with_project(thing) : thing.name);
                   else
                     list.next() += profile_json(from, records, profile_record::from_bytes(bytes));
                   return true;
                 });
    return std::move(list).take();
  });
}

void get_profile(const rest_request& from) {
  auto records = from.with().db.read();
  auto profile = load<schema::ProfileSpec>(records, table::profiles, in_project(from.head->project, from.parameter(0)));
  if (!profile) return reply_error(from, {fault::not_found, "Profile not found"});
  reply_sync(from, profile_json(from, records, *profile), etag_of(profile->bytes()));
}

void post_profiles(const rest_request& from) {
  auto post = body_of<schema::ProfilesPost>(from);
  if (!post) return reply_error(from, post.error());
  post->read([&](schema::ProfilesPost::Reader p) {
    auto put = message<schema::ProfilePut>::make([&](schema::ProfilePut::Builder b) {
      b.setDescription(p.getDescription());
      b.setConfig(p.getConfig());
      b.setDevices(p.getDevices());
    });
    auto name = text(p.getName());
    ask_sync(from, role::profiles, "/1.0/profiles/" + name, change_profile{verb::create, from.head, name, {}, {}, put});
  });
}

void put_profile(const rest_request& from) { change(from, verb::update, from.parameter(0), ""); }
void patch_profile(const rest_request& from) { change(from, verb::patch, from.parameter(0), ""); }

void post_profile(const rest_request& from) {
  auto body = body_of<schema::Rename>(from);
  if (!body) return reply_error(from, body.error());
  auto to = body->read([](auto post) { return text(post.getName()); });
  ask_sync(from, role::profiles, "/1.0/profiles/" + to,
           change_profile{verb::rename, from.head, from.parameter(0), to, {}, {}});
}

void delete_profile(const rest_request& from) {
  ask_sync(from, role::profiles, "", change_profile{verb::remove, from.head, from.parameter(0), {}, {}, {}});
}

} // namespace troupe
