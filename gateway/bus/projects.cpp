#include "actors/projects.hpp"

#include "actors/network_limit.hpp"
#include "gateway/bus/check.hpp"
#include "gateway/bus/methods.hpp"
#include "gateway/bus/page.hpp"

namespace troupe::on_bus {
namespace {

using verb = change_project::verb;

place project_at(const place& from, std::string name) {
  auto out = from;
  auto head = std::make_shared<header>(*from.head);
  head->project = std::move(name);
  out.head = std::move(head);
  return out;
}

message<schema::ProjectSpec> project_of(const call_ptr& c, const snapshot& records) {
  auto project = load<schema::ProjectSpec>(records, table::projects, c->at.head->project);
  if (!project) refuse(fault::not_found, "Project not found");
  return *project;
}

void fill_view(bus::ProjectView::Builder out, const principal& who, const snapshot& records,
               schema::ProjectSpec::Reader project) {
  copy_shown(project, out.initSpec());
  fill_used_by(out, who, users_of_project(records, view(project.getName())));
}

kj::Promise<void> change(const call_ptr& c, const std::optional<place>& thing, change_project request) {
  request.head = c->at.head;
  return begin(c, thing, role::projects, std::move(request));
}

} // namespace

kj::Promise<void> list_projects(const call_ptr& c) {
  return reply_page<bus::Bus::ProjectsResults, schema::ProjectSpec>(
      c, c->params<bus::Page>(), table::projects, "",
      [head = c->at.head](auto out, auto& records, auto project) { fill_view(out, head->who, records, project); },
      [head = c->at.head](std::string_view name) { return head->who.may("can_view", the_project(name)); });
}

kj::Promise<void> get_project(const call_ptr& c) {
  auto params = c->params<bus::Bus::ProjectParams>();
  bool known = c->at.of->who.knows(view(params.getName())); // of the others nobody learns which ones there are
  if (!known || !c->with().db.read().get(table::projects, view(params.getName())))
    refuse(fault::not_found, "Project not found");
  c->results<bus::Bus::ProjectResults>().setProject(handle_of<bus::Project>(project_at(c->at, text(params.getName()))));
  return kj::READY_NOW;
}

kj::Promise<void> create_project(const call_ptr& c) {
  auto params = c->params<schema::ProjectsPost>();
  auto body = message<schema::ProjectPut>::make([&](schema::ProjectPut::Builder put) {
    put.setDescription(params.getDescription());
    put.setConfig(params.getConfig());
  });
  auto name = text(params.getName());
  return change(c, project_at(c->at, name), {verb::create, nullptr, name, {}, {}, body});
}

kj::Promise<void> view_project(const call_ptr& c) {
  auto records = c->with().db.read();
  auto project = project_of(c, records);
  auto results = c->results<bus::ProjectView>();
  project.read([&](auto p) { fill_view(results, c->at.head->who, records, p); });
  results.setEtag(etag_of(project.bytes()));
  return kj::READY_NOW;
}

kj::Promise<void> update_project(const call_ptr& c) {
  auto params = c->params<bus::Project::UpdateParams>();
  auto what = params.getGuard().getPatch() ? verb::patch : verb::update;
  return change(c, std::nullopt,
                {what,
                 nullptr,
                 c->at.head->project,
                 {},
                 text(params.getGuard().getEtag()),
                 copy_of<schema::ProjectPut>(params.getBody())});
}

kj::Promise<void> rename_project(const call_ptr& c) {
  auto to = text(c->params<schema::Rename>().getName());
  return change(c, project_at(c->at, to), {verb::rename, nullptr, c->at.head->project, to, {}, {}});
}

kj::Promise<void> delete_project(const call_ptr& c) {
  return change(c, std::nullopt, {verb::remove, nullptr, c->at.head->project, {}, {}, {}});
}

kj::Promise<void> measure_project(const call_ptr& c) {
  using results = bus::Project::StateResults;
  return reply_from_blocking_thread(
      c, [project = project_of(c, c->with().db.read()), &db = c->with().db]() -> outcome<message<results>> {
        auto records = db.read();
        auto [name, config] = project.read([](auto p) { return std::pair{text(p.getName()), to_map(p.getConfig())}; });
        auto states = limit_states(config, use_of_project(records, name, [](std::string_view) { return false; }));
        states.push_back(network_limit(records, name, config));
        return message<results>::make([&](results::Builder out) {
          auto list = out.initLimits(static_cast<unsigned>(states.size()));
          for (unsigned i = 0; i < states.size(); ++i) {
            list[i].setName(std::string{states[i].name});
            list[i].setLimit(states[i].limit);
            list[i].setUsage(states[i].usage);
          }
        });
      });
}

} // namespace troupe::on_bus
