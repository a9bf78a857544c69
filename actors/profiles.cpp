#include "actors/profiles.hpp"

#include "actors/config_keys.hpp"
#include "actors/names.hpp"
#include "actors/policy.hpp"
#include "actors/project_keys.hpp"

#include <algorithm>
#include <caf/event_based_actor.hpp>
#include <set>

namespace troupe {
namespace {

using verb = change_profile::verb;

std::string url_of(const std::string& name) { return "/1.0/profiles/" + name; }

outcome<void> check(schema::ProfilePut::Reader put) {
  if (auto good = check_text("description", view(put.getDescription())); !good) return good;
  if (auto good = check_instance_config(to_map(put.getConfig())); !good) return good;
  for (auto& [key, value] : to_map(put.getConfig()))
    if (key.starts_with("volatile.") || key.starts_with("image."))
      return fail(fault::invalid, "Config key \"" + key + "\" cannot be set on a profile");
  return check_devices(to_map(put.getDevices()));
}

// An instance as it will be once one of its profiles reads like this.
expansion expand_with(const snapshot& records, schema::InstanceSpec::Reader spec, const std::string& home,
                      const std::string& name, const message<schema::ProfileSpec>& after) {
  expansion out;
  auto add = [&out](auto from) {
    for (auto& [key, value] : to_map(from.getConfig())) out.config.insert_or_assign(key, value);
    for (auto& [device, config] : to_map(from.getDevices())) out.devices.insert_or_assign(device, config);
  };
  for (auto& used : to_vector(spec.getProfiles())) {
    if (used == name)
      after.read(add);
    else if (auto other = load<schema::ProfileSpec>(records, table::profiles, in_project(home, used)))
      other->read(add);
  }
  add(spec);
  return out;
}

bool uses(schema::InstanceSpec::Reader spec, std::string_view profile) {
  for (auto used : spec.getProfiles())
    if (view(used) == profile) return true;
  return false;
}

// A root disk that instances live on must not vanish or move under them, and what their project forbids does not come
// by way of a profile either.
outcome<void> check_user(const snapshot& records, schema::InstanceSpec::Reader spec, const config_map& rules,
                         const expansion& effective) {
  auto root = root_disk(effective.devices);
  if (!root || get(*root, "pool") != view(spec.getPool()))
    return fail(fault::in_use, "Instance \"" + text(spec.getName()) + "\" would lose its root disk");
  if (auto good = check_expanded(records, view(spec.getProject()), spec.getType(), effective); !good) return good;
  auto status =
      load<schema::InstanceStatus>(records, table::statuses, in_project(view(spec.getProject()), view(spec.getName())));
  bool down = !status || status->read([](schema::InstanceStatus::Reader s) {
    return s.getState() == schema::InstanceStatus::State::STOPPED;
  });
  if (!down)
    if (auto good = check_running_change(expand(records, spec), effective); !good)
      return fail(good.error().code, "Instance \"" + text(spec.getName()) + "\": " + good.error().message);
  return judge(view(spec.getProject()), rules, effective);
}

outcome<void> check_users_in(const snapshot& records, const std::string& project, const std::string& home,
                             const std::string& name, const message<schema::ProfileSpec>& after) {
  auto rules = project_config(records, project);
  outcome<void> good;
  std::set<std::string, std::less<>> users;
  project_use before, sum;
  records.scan(table::instances, project + "/", [&](std::string_view, std::string_view bytes) {
    message<schema::InstanceSpec>::from_bytes(bytes).read([&](schema::InstanceSpec::Reader spec) {
      if (!uses(spec, name)) return;
      auto effective = expand_with(records, spec, home, name, after);
      good = check_user(records, spec, rules, effective);
      auto use = use_of(project, rules, spec.getType(), effective);
      if (good && !use) good = tl::unexpected{use.error()};
      if (!good) return;
      users.insert(text(spec.getName()));
      before += countable_use(spec.getType(), expand(records, spec));
      sum += *use;
    });
    return good.has_value();
  });
  // As with an instance: who takes no more than before may go on.
  if (!good || !is_limited(rules) || larger(before, sum) == before) return good;
  sum += use_of_project(records, project, [&](std::string_view instance) { return users.contains(instance); });
  return check_limits(project, rules, sum);
}

outcome<void> check_users(const snapshot& records, const std::string& home, const std::string& name,
                          const message<schema::ProfileSpec>& after) {
  for (auto& project : projects_with_profiles_of(records, home))
    if (auto good = check_users_in(records, project, home, name, after); !good) return good;
  return {};
}

// Those that run follow at once.
std::vector<saga_step> steps_of_users(const snapshot& records, const std::string& home, const std::string& name) {
  std::vector<saga_step> out;
  for (auto& project : projects_with_profiles_of(records, home))
    records.scan(table::instances, project + "/", [&](std::string_view key, std::string_view bytes) {
      auto user = message<schema::InstanceSpec>::from_bytes(bytes).read(
          [&](schema::InstanceSpec::Reader spec) { return uses(spec, name) ? text(spec.getName()) : std::string{}; });
      auto status = user.empty() ? std::nullopt : load<schema::InstanceStatus>(records, table::statuses, key);
      bool down = !status || status->read([](schema::InstanceStatus::Reader s) {
        return s.getState() == schema::InstanceStatus::State::STOPPED;
      });
      if (!down) out.push_back({"instance.follow", {{"project", project}, {"name", user}}});
      return true;
    });
  return out;
}

message<schema::ProfileSpec> merged(const message<schema::ProfileSpec>& before, const change_profile& request) {
  return request.body.read([&](schema::ProfilePut::Reader put) {
    auto config = to_map(put.getConfig());
    auto devices = to_map(put.getDevices());
    if (request.what == verb::patch)
      before.read([&](auto p) {
        for (auto& [key, value] : to_map(p.getConfig())) config.emplace(key, value);
        for (auto& [name, device] : to_map(p.getDevices())) devices.emplace(name, device);
      });
    std::erase_if(config, [](auto& entry) { return entry.second.empty(); });
    return changed(before, [&](schema::ProfileSpec::Builder p) {
      if (request.what != verb::patch || put.hasDescription()) p.setDescription(put.getDescription());
      fill(p.initConfig(static_cast<unsigned>(config.size())), config);
      fill(p.initDevices(static_cast<unsigned>(devices.size())), devices);
    });
  });
}

std::shared_ptr<saga> new_saga(const change_profile& request, std::string kind, std::string description) {
  auto plan = std::make_shared<saga>();
  plan->kind = std::move(kind);
  plan->description = std::move(description);
  plan->head = request.head;
  plan->entity = "profile/" + in_project(request.head->project, request.name);
  return plan;
}

// Images that name the profile follow it; of one that is gone (`to` empty) they forget the name.
void follow_in_images(batch& commit, const snapshot& records, const std::string& project, const std::string& from,
                      const std::string& to) {
  records.scan(table::images, "", [&](std::string_view key, std::string_view bytes) {
    if (home_of(records, key.substr(0, key.find('/')), feature::profiles) != project) return true;
    auto image = message<schema::ImageSpec>::from_bytes(bytes);
    auto names = image.read([](auto i) { return to_vector(i.getProfiles()); });
    auto at = std::find(names.begin(), names.end(), from);
    if (at == names.end()) return true;
    if (to.empty())
      names.erase(at);
    else
      *at = to;
    commit.conditions.push_back(unchanged(records, table::images, std::string{key}));
    commit.writes.push_back(put(table::images, std::string{key}, changed(image, [&](schema::ImageSpec::Builder i) {
                                  fill(i.initProfiles(static_cast<unsigned>(names.size())), names);
                                })));
    return true;
  });
}

outcome<std::shared_ptr<saga>> plan_create(const snapshot& records, const change_profile& request) {
  if (auto good = check_plain_name("Profile", request.name); !good) return tl::unexpected{good.error()};
  auto key = in_project(request.head->project, request.name);
  if (records.get(table::profiles, key)) return fail(fault::already_exists, "The profile already exists");
  auto plan = new_saga(request, "profile.create", "Creating profile");
  auto empty = message<schema::ProfileSpec>::make([&](schema::ProfileSpec::Builder p) {
    p.setName(request.name);
    p.setProject(request.head->project);
  });
  plan->commit.conditions.push_back(absent(table::profiles, key));
  keep_project(plan->commit, records, request.head->project);
  plan->commit.writes.push_back(put(table::profiles, key, merged(empty, request)));
  plan->commit.events.push_back(
      lifecycle_event(*request.head, "profile", request.name, "profile-created", url_of(request.name)));
  return plan;
}

outcome<std::shared_ptr<saga>> plan_rest(const snapshot& records, const change_profile& request) {
  auto& project = request.head->project;
  auto key = in_project(project, request.name);
  auto record = load<schema::ProfileSpec>(records, table::profiles, key);
  if (!record) return fail(fault::not_found, "Profile not found");
  if (!request.etag.empty() && request.etag != etag_of(record->bytes()))
    return fail(fault::precondition, "The profile was changed in the meantime (ETag does not match)");
  if (request.what == verb::update || request.what == verb::patch) {
    auto after = merged(*record, request);
    auto plan = new_saga(request, "profile.update", "Updating profile");
    plan->admit = [project, name = request.name, after](const snapshot& now) -> outcome<batch> {
      if (auto good = check_users(now, project, name, after); !good) return tl::unexpected{good.error()};
      return changed_rules(now, project);
    };
    if (auto good = plan->admit(records); !good) return tl::unexpected{good.error()};
    plan->commit.conditions.push_back(unchanged(records, table::profiles, key));
    plan->after = steps_of_users(records, project, request.name);
    plan->commit.writes.push_back(put(table::profiles, key, after));
    plan->commit.events.push_back(
        lifecycle_event(*request.head, "profile", request.name, "profile-updated", url_of(request.name)));
    return plan;
  }
  if (request.name == "default")
    return fail(fault::forbidden,
                "The 'default' profile cannot be " + std::string{request.what == verb::remove ? "deleted" : "renamed"});
  auto plan = new_saga(request, request.what == verb::remove ? "profile.delete" : "profile.rename", "Changing profile");
  plan->admit = [project, name = request.name](const snapshot& now) -> outcome<batch> {
    if (!users_of_profile(now, project, name).empty()) return fail(fault::in_use, "Profile is currently in use");
    return changed_rules(now, project);
  };
  if (auto good = plan->admit(records); !good) return tl::unexpected{good.error()};
  plan->commit.conditions.push_back(unchanged(records, table::profiles, key));
  plan->commit.writes.push_back(erase(table::profiles, key));
  follow_in_images(plan->commit, records, project, request.name, request.new_name);
  if (request.what == verb::remove) {
    plan->commit.events.push_back(
        lifecycle_event(*request.head, "profile", request.name, "profile-deleted", url_of(request.name)));
    return plan;
  }
  auto to = in_project(project, request.new_name);
  if (auto good = check_plain_name("Profile", request.new_name); !good) return tl::unexpected{good.error()};
  if (records.get(table::profiles, to)) return fail(fault::already_exists, "The profile already exists");
  plan->commit.conditions.push_back(absent(table::profiles, to));
  plan->commit.writes.push_back(
      put(table::profiles, to, changed(*record, [&](auto p) { p.setName(request.new_name); })));
  plan->commit.events.push_back(lifecycle_event(*request.head, "profile", request.new_name, "profile-renamed",
                                                url_of(request.new_name), {{"old_name", request.name}}));
  return plan;
}

outcome<std::shared_ptr<saga>> make_plan(const snapshot& records, const change_profile& request) {
  if (request.what != verb::rename && request.what != verb::remove)
    if (auto good = request.body.read([](auto put) { return check(put); }); !good) return tl::unexpected{good.error()};
  return request.what == verb::create ? plan_create(records, request) : plan_rest(records, request);
}

} // namespace

caf::behavior profiles(caf::event_based_actor* self, services& with) {
  return {
      [self, &with](const change_profile& request) -> caf::result<operation_record> {
        auto plan = make_plan(with.db.read(), request);
        if (!plan) return to_caf(plan.error());
        return hand_over<operation_record>(self, with.find(role::operations), begin_saga{*plan});
      },
  };
}

} // namespace troupe
