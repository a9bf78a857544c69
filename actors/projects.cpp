#include "actors/projects.hpp"

#include "actors/expander.hpp"
#include "actors/names.hpp"
#include "actors/network_limit.hpp"
#include "actors/policy.hpp"
#include "actors/project_keys.hpp"
#include "actors/project_use.hpp"
#include "actors/volumes.hpp"

#include <caf/event_based_actor.hpp>

namespace troupe {
namespace {

using verb = change_project::verb;
using project_record = message<schema::ProjectSpec>;
using plan_ptr = std::shared_ptr<saga>;

std::string url_of(std::string_view name) { return "/1.0/projects/" + std::string{name}; }

plan_ptr new_saga(const change_project& request, std::string kind, std::string description) {
  auto plan = std::make_shared<saga>();
  plan->kind = std::move(kind);
  plan->description = std::move(description);
  auto head = std::make_shared<header>(*request.head); // a project is the server's, not one of its own things
  head->project = "default";
  plan->head = std::move(head);
  plan->entity = "project/" + request.name;
  return plan;
}

void tell(saga& plan, const std::string& name, std::string_view action, const config_map& context = {}) {
  plan.commit.events.push_back(lifecycle_event(*plan.head, "project", name, action, url_of(name), context));
}

// An underscore would make one project's instance look like another's on the host, two dashes in the DNS.
outcome<void> check_name(const std::string& name) {
  if (auto good = check_plain_name("Project", name); !good) return good;
  if (name.find_first_of("_:") != name.npos || name.find("--") != name.npos || name.ends_with('-'))
    return fail(fault::invalid,
                "Project name must not have underscores, colons and two dashes in a row, nor end with a dash");
  return {};
}

// ---- the profile that every project with profiles of its own has

void add_default_profile(saga& plan, const std::string& project) {
  auto key = in_project(project, "default");
  plan.commit.conditions.push_back(absent(table::profiles, key));
  plan.commit.writes.push_back(
      put(table::profiles, key, message<schema::ProfileSpec>::make([&](schema::ProfileSpec::Builder p) {
            p.setName("default");
            p.setProject(project);
            p.setDescription("Default LXD profile for project " + project);
          })));
}

bool has_profiles(const config_map& config) { return is_true(project_value_of(config, "features.profiles")); }

// ---- create

config_map with_defaults(config_map config) {
  for (auto key : {"features.images", "features.profiles", "features.storage.volumes"}) config.emplace(key, "true");
  return config;
}

project_record make_record(const std::string& name, std::string_view description, const config_map& config) {
  return project_record::make([&](schema::ProjectSpec::Builder p) {
    p.setName(name);
    p.setDescription(std::string{description});
    fill(p.initConfig(static_cast<unsigned>(config.size())), config);
  });
}

outcome<plan_ptr> plan_create(const snapshot& records, const change_project& request) {
  if (auto good = check_name(request.name); !good) return tl::unexpected{good.error()};
  if (records.get(table::projects, request.name)) return fail(fault::already_exists, "Project already exists");
  auto config = request.body.read([](auto put) { return to_map(put.getConfig()); });
  std::erase_if(config, [](auto& entry) { return entry.second.empty(); });
  config = with_defaults(std::move(config));
  if (auto good = check_network_limit(records, request.name, config); !good) return tl::unexpected{good.error()};
  auto plan = new_saga(request, "project.create", "Creating project");
  plan->commit.conditions.push_back(absent(table::projects, request.name));
  plan->commit.writes.push_back(put(table::projects, request.name, request.body.read([&](auto put) {
    return make_record(request.name, view(put.getDescription()), config);
  })));
  if (has_profiles(config)) add_default_profile(*plan, request.name);
  tell(*plan, request.name, "project-created");
  return plan;
}

// ---- update

bool is_empty(const snapshot& records, std::string_view project) {
  auto own_profile = project == "default" ? std::string{} : url_of_in("profiles", project, "default");
  for (auto& user : users_of_project(records, project))
    if (user != own_profile) return false;
  return true;
}

outcome<void> check_features(const snapshot& records, const change_project& request, const config_map& before,
                             const config_map& after) {
  for (auto& row : project_keys()) {
    if (!row.key.starts_with("features.")) continue;
    if (is_true(project_value_of(before, row.key)) == is_true(project_value_of(after, row.key))) continue;
    if (request.name == "default") return fail(fault::invalid, "The default project's features cannot be changed");
    if (!is_empty(records, request.name))
      return fail(fault::in_use, "Features can only be changed on empty projects (\"" + std::string{row.key} + "\")");
  }
  return {};
}

outcome<void> check_contents(const snapshot& records, const std::string& project, const config_map& rules) {
  outcome<void> good;
  project_use sum;
  expander expand{records};
  records.scan(table::instances, project + "/", [&](std::string_view, std::string_view bytes) {
    message<schema::InstanceSpec>::from_bytes(bytes).read([&](schema::InstanceSpec::Reader spec) {
      auto effective = expand(spec);
      good = judge(project, rules, effective);
      auto use = use_of(project, rules, spec.getType(), effective);
      if (good && !use) good = tl::unexpected{use.error()};
      if (use) sum += *use;
      if (!good) good = fail(good.error().code, "Instance \"" + text(spec.getName()) + "\": " + good.error().message);
    });
    return good.has_value();
  });
  records.scan(table::custom_volumes, project + "/", [&](std::string_view, std::string_view bytes) {
    auto volume = volume_record::from_bytes(bytes);
    auto use =
        use_of_volume(project, rules, place_of(volume).pool, volume.read([](auto v) { return to_map(v.getConfig()); }));
    if (good && !use) good = tl::unexpected{use.error()};
    if (use) sum += *use;
    return good.has_value();
  });
  return good ? check_limits(project, rules, sum) : good;
}

outcome<plan_ptr> plan_update(const snapshot& records, const change_project& request, const project_record& record) {
  auto before = record.read([](auto p) { return to_map(p.getConfig()); });
  auto put_ = request.body.read([](auto put) { return to_map(put.getConfig()); });
  bool patch = request.what == verb::patch;
  if (patch)
    for (auto& [key, value] : before) put_.emplace(key, value);
  std::erase_if(put_, [](auto& entry) { return entry.second.empty(); });
  auto plan = new_saga(request, "project.update", "Updating project");
  plan->admit = [request, before, put_](const snapshot& now) -> outcome<batch> {
    if (auto good = check_features(now, request, before, put_); !good) return tl::unexpected{good.error()};
    if (auto good = check_contents(now, request.name, put_); !good) return tl::unexpected{good.error()};
    if (auto good = check_network_limit(now, request.name, put_); !good) return tl::unexpected{good.error()};
    return changed_rules(now, request.name);
  };
  if (auto good = plan->admit(records); !good) return tl::unexpected{good.error()};
  plan->commit.conditions.push_back(unchanged(records, table::projects, request.name));
  plan->commit.writes.push_back(put(table::projects, request.name, changed(record, [&](schema::ProjectSpec::Builder p) {
                                      request.body.read([&](schema::ProjectPut::Reader put) {
                                        if (!patch || put.hasDescription()) p.setDescription(put.getDescription());
                                      });
                                      fill(p.initConfig(static_cast<unsigned>(put_.size())), put_);
                                    })));
  if (has_profiles(put_) && !has_profiles(before)) add_default_profile(*plan, request.name);
  if (!has_profiles(put_) && has_profiles(before))
    plan->commit.writes.push_back(erase(table::profiles, in_project(request.name, "default")));
  tell(*plan, request.name, "project-updated");
  return plan;
}

// ---- rename, delete

outcome<plan_ptr> plan_leaving(const snapshot& records, const change_project& request, const project_record& record) {
  bool remove = request.what == verb::remove;
  if (request.name == "default")
    return fail(fault::forbidden, std::string{"The default project cannot be "} + (remove ? "deleted" : "renamed"));
  auto plan =
      new_saga(request, remove ? "project.delete" : "project.rename", remove ? "Deleting project" : "Renaming project");
  plan->admit = [name = request.name, remove](const snapshot& now) -> outcome<batch> {
    if (!is_empty(now, name))
      return fail(fault::in_use, std::string{"Only empty projects can be "} + (remove ? "removed" : "renamed"));
    return changed_rules(now, name);
  };
  if (auto good = plan->admit(records); !good) return tl::unexpected{good.error()};
  plan->commit.conditions.push_back(unchanged(records, table::projects, request.name));
  plan->commit.writes.push_back(erase(table::projects, request.name));
  auto own = load<schema::ProfileSpec>(records, table::profiles, in_project(request.name, "default"));
  if (own) {
    plan->commit.conditions.push_back(unchanged(records, table::profiles, in_project(request.name, "default")));
    plan->commit.writes.push_back(erase(table::profiles, in_project(request.name, "default")));
  }
  if (remove) {
    tell(*plan, request.name, "project-deleted");
    return plan;
  }
  auto& to = request.new_name;
  if (auto good = check_name(to); !good) return tl::unexpected{good.error()};
  if (records.get(table::projects, to)) return fail(fault::already_exists, "Project already exists");
  plan->commit.conditions.push_back(absent(table::projects, to));
  plan->commit.writes.push_back(put(table::projects, to, changed(record, [&](auto p) { p.setName(to); })));
  if (own)
    plan->commit.writes.push_back(
        put(table::profiles, in_project(to, "default"), changed(*own, [&](auto p) { p.setProject(to); })));
  tell(*plan, to, "project-renamed", {{"old_name", request.name}});
  return plan;
}

outcome<plan_ptr> make_plan(const snapshot& records, const change_project& request) {
  auto good = request.body.read([](schema::ProjectPut::Reader put) {
    auto text_good = check_text("description", view(put.getDescription()));
    return text_good ? check_project_config(to_map(put.getConfig())) : text_good;
  });
  if (!good) return tl::unexpected{good.error()};
  if (request.what == verb::create) return plan_create(records, request);
  auto record = load<schema::ProjectSpec>(records, table::projects, request.name);
  if (!record) return fail(fault::not_found, "Project not found");
  if (!request.etag.empty() && request.etag != etag_of(record->bytes()))
    return fail(fault::precondition, "The project was changed in the meantime (ETag does not match)");
  return request.what == verb::update || request.what == verb::patch ? plan_update(records, request, *record)
                                                                     : plan_leaving(records, request, *record);
}

} // namespace

std::vector<std::string> users_of_project(const snapshot& from, std::string_view project) {
  struct source {
    table where;
    std::string_view collection;
  };
  static constexpr source sources[] = {{table::profiles, "profiles"},
                                       {table::instances, "instances"},
                                       {table::images, "images"},
                                       {table::networks, "networks"}};
  std::vector<std::string> out;
  auto prefix = std::string{project} + '/';
  for (auto& [where, collection] : sources)
    from.scan(where, prefix, [&, &of = collection](std::string_view key, std::string_view) {
      out.push_back(url_of_in(of, project, key.substr(prefix.size())));
      return true;
    });
  from.scan(table::custom_volumes, prefix, [&](std::string_view, std::string_view bytes) {
    out.push_back(place_of(volume_record::from_bytes(bytes)).url());
    return true;
  });
  return out;
}

caf::behavior projects(caf::event_based_actor* self, services& with) {
  return {
      [self, &with](const change_project& request) -> caf::result<operation_record> {
        auto plan = make_plan(with.db.read(), request);
        if (!plan) return to_caf(plan.error());
        return hand_over<operation_record>(self, with.find(role::operations), begin_saga{*plan});
      },
  };
}

} // namespace troupe
