#include "actors/profiles.hpp"

#include "actors/config_keys.hpp"
#include "actors/names.hpp"

#include <caf/event_based_actor.hpp>

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

// A root disk that instances live on must not vanish or move under them.
outcome<void> check_users(const snapshot& records, const std::string& project, const std::string& name,
                          const message<schema::ProfileSpec>& after) {
  outcome<void> good;
  records.scan(table::instances, project + "/", [&](std::string_view, std::string_view bytes) {
    message<schema::InstanceSpec>::from_bytes(bytes).read([&](schema::InstanceSpec::Reader spec) {
      expansion effective;
      bool uses = false;
      for (auto& used : to_vector(spec.getProfiles())) {
        auto profile = used == name ? after
                                    : load<schema::ProfileSpec>(records, table::profiles, in_project(project, used))
                                          .value_or(message<schema::ProfileSpec>{});
        uses |= used == name;
        profile.read([&](auto p) {
          for (auto& [device, config] : to_map(p.getDevices())) effective.devices.insert_or_assign(device, config);
        });
      }
      if (!uses) return;
      for (auto& [device, config] : to_map(spec.getDevices())) effective.devices.insert_or_assign(device, config);
      auto root = root_disk(effective.devices);
      if (!root || get(*root, "pool") != view(spec.getPool()))
        good = fail(fault::in_use, "Instance \"" + text(spec.getName()) + "\" would lose its root disk");
      else
        good = check_expanded(records, effective);
    });
    return good.has_value();
  });
  return good;
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
    if (auto good = check_users(records, project, request.name, after); !good) return tl::unexpected{good.error()};
    auto plan = new_saga(request, "profile.update", "Updating profile");
    plan->commit.conditions.push_back(unchanged(records, table::profiles, key));
    plan->commit.writes.push_back(put(table::profiles, key, after));
    plan->commit.events.push_back(
        lifecycle_event(*request.head, "profile", request.name, "profile-updated", url_of(request.name)));
    return plan;
  }
  if (request.name == "default")
    return fail(fault::forbidden,
                "The 'default' profile cannot be " + std::string{request.what == verb::remove ? "deleted" : "renamed"});
  if (auto users = users_of_profile(records, project, request.name); !users.empty())
    return fail(fault::in_use, "Profile is currently in use");
  auto plan = new_saga(request, request.what == verb::remove ? "profile.delete" : "profile.rename", "Changing profile");
  plan->commit.conditions.push_back(unchanged(records, table::profiles, key));
  plan->commit.writes.push_back(erase(table::profiles, key));
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
