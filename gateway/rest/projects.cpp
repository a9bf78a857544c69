#include "actors/projects.hpp"

#include "actors/network_limit.hpp"
#include "gateway/rest/lists.hpp"
#include "gateway/rest/routes.hpp"

namespace troupe {
namespace {

using verb = change_project::verb;
using project_record = message<schema::ProjectSpec>;

std::string project_json(const principal& who, const snapshot& records, const project_record& project) {
  std::string out = "{";
  project.read([&](schema::ProjectSpec::Reader p) {
    write_json_fields(out, p);
    write_used_by(out, who, users_of_project(records, view(p.getName())));
  });
  return out + "}";
}

void change(const rest_request& from, verb what) {
  auto body = body_of<schema::ProjectPut>(from);
  if (!body) return reply_error(from, body.error());
  ask_sync(from, role::projects, "", change_project{what, from.head, from.parameter(0), {}, from.etag(), *body});
}

std::string state_json(const snapshot& records, const project_record& project) {
  auto [name, config] = project.read([](schema::ProjectSpec::Reader p) {
    return std::pair{text(p.getName()), to_map(p.getConfig())};
  });
  auto sum = use_of_project(records, name, [](std::string_view) { return false; });
  auto states = limit_states(config, sum);
  states.push_back(network_limit(records, name, config));
  std::string resources = "{";
  for (auto& one : states) {
    write_json_name(resources, one.name);
    resources += "{\"Limit\":" + std::to_string(one.limit) + ",\"Usage\":" + std::to_string(one.usage) + '}';
  }
  resources += '}';
  return "{\"resources\":" + resources + '}';
}

} // namespace

void get_projects(const rest_request& from) {
  reply_from_blocking_thread(from, [from]() -> outcome<std::string> {
    auto records = from.with().db.read();
    json_list list;
    records.scan(table::projects, "", [&](std::string_view name, std::string_view bytes) {
      if (!from.head->who.may("can_view", the_project(name))) return true;
      if (from.recursion() == 0)
        list.url("/1.0/projects/", name);
      else
        list.next() += project_json(from.head->who, records, project_record::from_bytes(bytes));
      return true;
    });
    return std::move(list).take();
  });
}

void get_project(const rest_request& from) {
  auto records = from.with().db.read();
  auto project = load<schema::ProjectSpec>(records, table::projects, from.parameter(0));
  if (!project || !from.head->who.may("can_view", the_project(from.parameter(0))))
    return reply_error(from, {fault::not_found, "Project not found"});
  reply_sync(from, project_json(from.head->who, records, *project), etag_of(project->bytes()));
}

void get_project_state(const rest_request& from) {
  reply_from_blocking_thread(from, [from]() -> outcome<std::string> {
    auto records = from.with().db.read();
    auto project = load<schema::ProjectSpec>(records, table::projects, from.parameter(0));
    if (!project || !from.head->who.may("can_view", the_project(from.parameter(0))))
      return fail(fault::not_found, "Project not found");
    return state_json(records, *project);
  });
}

void post_projects(const rest_request& from) {
  auto post = body_of<schema::ProjectsPost>(from);
  if (!post) return reply_error(from, post.error());
  post->read([&](schema::ProjectsPost::Reader p) {
    auto put = message<schema::ProjectPut>::make([&](schema::ProjectPut::Builder b) {
      b.setDescription(p.getDescription());
      b.setConfig(p.getConfig());
    });
    auto name = text(p.getName());
    ask_sync(from, role::projects, "/1.0/projects/" + name, change_project{verb::create, from.head, name, {}, {}, put});
  });
}

void put_project(const rest_request& from) { change(from, verb::update); }
void patch_project(const rest_request& from) { change(from, verb::patch); }

void post_project(const rest_request& from) {
  auto body = body_of<schema::Rename>(from);
  if (!body) return reply_error(from, body.error());
  auto to = body->read([](auto post) { return text(post.getName()); });
  ask_async(from, role::projects, change_project{verb::rename, from.head, from.parameter(0), to, {}, {}});
}

void delete_project(const rest_request& from) {
  ask_sync(from, role::projects, "", change_project{verb::remove, from.head, from.parameter(0), {}, {}, {}});
}

} // namespace troupe
