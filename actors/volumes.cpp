#include "actors/volumes.hpp"

#include "actors/config_keys.hpp"
#include "actors/expander.hpp"
#include "actors/instance_copy.hpp"
#include "actors/names.hpp"
#include "actors/project_keys.hpp"
#include "actors/volume_snapshots.hpp"
#include "backends/storage/size.hpp"
#include "messages/rights.hpp"

#include <algorithm>

namespace troupe {
namespace {

using plan_ptr = std::shared_ptr<saga>;

// Keys of a custom volume, and why the others that LXD has are refused.
struct volume_key {
  std::string_view key; // a trailing '*' stands for any suffix
  value_type type;
  std::string_view refused = {};
};
constexpr std::string_view no_shift = "ids on disk are always the instances' own, so that they can share a volume",
                           no_block = "block volumes are not there yet";
constexpr volume_key keys[] = {
    {"block.*", value_type::text, no_block},
    {"security.shared", value_type::boolean, no_block},
    {"security.shifted", value_type::boolean, no_shift},
    {"security.unmapped", value_type::boolean, no_shift},
    {"size", value_type::size},
    {"snapshots.expiry", value_type::span},
    {"snapshots.pattern", value_type::pattern},
    {"snapshots.schedule", value_type::times},
    {"user.*", value_type::text},
};

const volume_key* find_key(std::string_view key) {
  for (auto& row : keys) {
    auto front = row.key.substr(0, row.key.size() - 1);
    if (row.key == key || (row.key.ends_with('*') && key.starts_with(front) && key.size() > front.size())) return &row;
  }
  return nullptr;
}

outcome<void> check_config(const snapshot& records, const std::string& pool, const config_map& config) {
  for (auto& [key, value] : config) {
    auto row = find_key(key);
    if (!row) return fail(fault::invalid, "Unknown configuration key of a volume: " + key);
    if (!row->refused.empty())
      return fail(fault::unsupported, "\"" + key + "\" is not supported: " + std::string{row->refused});
    if (auto good = check_value(key, value, row->type, {}); !good) return good;
  }
  auto on = load<schema::PoolSpec>(records, table::pools, pool);
  if (!get(config, "size").empty() && on && !on->read([](auto p) { return has_quotas(view(p.getDriver())); }))
    return fail(fault::unsupported,
                "The storage pool \"" + pool + "\" cannot limit the size of a volume (only btrfs can)");
  return {};
}

plan_ptr new_saga(const volume_place& where, std::shared_ptr<const header> head, std::string kind,
                  std::string description) {
  auto plan = std::make_shared<saga>();
  plan->kind = std::move(kind);
  plan->description = std::move(description);
  plan->head = std::move(head);
  plan->entity = "storage-volume/" + where.key();
  plan->resources = {{"storage_volumes", {where.url()}}};
  return plan;
}

void tell(saga& plan, const volume_place& where, std::string_view action, config_map context = {}) {
  context.emplace("type", "custom");
  plan.commit.events.push_back(lifecycle_event(*plan.head, "storage-volume", where.pool + "/custom/" + where.name,
                                               std::string{action}, where.url(), std::move(context)));
}

// What it takes of the limits of the project that it is in, granted before and judged again at the commit.
outcome<void> claim(saga& plan, const snapshot& records, const volume_place& where, const config_map& config) {
  auto rules = project_config(records, where.project);
  auto use = use_of_volume(where.project, rules, where.pool, config);
  if (!use) return tl::unexpected{use.error()};
  if (is_limited(rules)) {
    plan.claim = *use;
    plan.claimant = in_project(where.project, '@' + where.pool + '/' + where.name);
  }
  plan.admit = [where, config, granted = plan.claim](const snapshot& now) -> outcome<batch> {
    auto rules_now = project_config(now, where.project);
    if (auto good = use_of_volume(where.project, rules_now, where.pool, config); !good)
      return tl::unexpected{good.error()};
    if (is_limited(rules_now) && !granted)
      return fail(fault::busy, "The project's limits have changed meanwhile; try again");
    batch marks;
    enter_project(marks, now, where.project);
    return marks;
  };
  return {};
}

outcome<void> check_new(const snapshot& records, const volume_place& where) {
  if (auto good = check_plain_name("Storage volume", where.name); !good) return good;
  if (!records.get(table::pools, where.pool)) return fail(fault::not_found, "Storage pool not found");
  if (records.get(table::custom_volumes, where.key()))
    return fail(fault::already_exists, "A volume by that name already exists on the storage pool");
  return {};
}

/// What a new volume begins as, and whose snapshots come along.
struct beginning {
  saga_step step;
  std::optional<volume_place> with_snapshots_of = {};
};

outcome<beginning> begin_volume(const snapshot& records, const header& head, const volume_place& where,
                                schema::VolumesPost::Reader post, config_map& config) {
  auto source = post.getSource();
  auto type = view(source.getType());
  if (type == "migration") return fail(fault::unsupported, "Volumes of other servers cannot be copied yet");
  if (type.empty() && source.getName().size() == 0)
    return beginning{{"volume.create",
                      {{"pool", where.pool}, {"volume", where.volume()}, {"size", std::string{get(config, "size")}}}}};
  if (type != "copy") return fail(fault::invalid, "Unknown source type: " + std::string{type});
  if (source.getRefresh()) return fail(fault::unsupported, "Volumes cannot be refreshed yet");
  auto project = source.getProject().size() ? text(source.getProject()) : head.project;
  auto named = text(source.getName());
  auto slash = std::min(named.find('/'), named.size());
  volume_place from{home_of(records, project, feature::volumes), text(source.getPool()), named.substr(0, slash)};
  auto original = find_volume(records, from);
  if (!original || !head.who.may("can_view", {"storage_volume", project, from.pool + "/custom/" + from.name}))
    return fail(fault::not_found, "Storage volume not found");
  if (!post.hasConfig()) config = original->read([](auto v) { return to_map(v.getConfig()); });
  auto volume = from.volume();
  if (slash < named.size()) {
    auto taken = load<schema::VolumeSnapshotSpec>(records, volume_snapshots_table,
                                                  volume_snapshot_key(from, named.substr(slash + 1)));
    if (!taken) return fail(fault::not_found, "Storage volume snapshot not found");
    volume = volume_of(*taken);
  }
  beginning out{copy_step(where.pool, where.volume(), from.pool, volume, std::string{get(config, "size")})};
  if (slash == named.size() && !source.getVolumeOnly()) out.with_snapshots_of = from;
  return out;
}

using volume_users = std::map<std::string, std::vector<std::string>>;

void note_disks(volume_users& out, const snapshot& from, std::string_view pool, std::string_view project,
                const device_map& devices, const std::string& user) {
  for (auto& [name, device] : devices) {
    if (get(device, "type") != "disk" || get(device, "path") == "/" || get(device, "pool") != pool) continue;
    volume_place where{home_of(from, project, feature::volumes), std::string{pool}, std::string{get(device, "source")}};
    out[where.key()].push_back(user);
  }
}

outcome<void> check_unused(const snapshot& records, const volume_place& where) {
  auto users = users_of_volumes(records, where.pool);
  auto at = users.find(where.key());
  if (at == users.end()) return {};
  return fail(fault::in_use, "The storage volume is still in use by " + at->second.front());
}

} // namespace

volume_place place_of(const snapshot& records, const header& head, const std::string& pool, const std::string& name) {
  return {home_of(records, head.project, feature::volumes), pool, name};
}

outcome<volume_record> find_volume(const snapshot& records, const volume_place& where) {
  auto record = load<schema::VolumeSpec>(records, table::custom_volumes, where.key());
  return record ? outcome<volume_record>{*record} : fail(fault::not_found, "Storage volume not found");
}

bool is_disk_of(const snapshot& records, std::string_view project, const config_map& device,
                const volume_place& where) {
  return get(device, "type") == "disk" && get(device, "path") != "/" && get(device, "pool") == where.pool &&
         get(device, "source") == where.name && home_of(records, project, feature::volumes) == where.project;
}

volume_place place_of(const volume_record& record) {
  return record.read([](auto v) { return volume_place{text(v.getProject()), text(v.getPool()), text(v.getName())}; });
}

volume_users users_of_volumes(const snapshot& from, std::string_view pool) {
  volume_users out;
  expander expand{from};
  from.scan(table::instances, "", [&](std::string_view, std::string_view bytes) {
    message<schema::InstanceSpec>::from_bytes(bytes).read([&](schema::InstanceSpec::Reader spec) {
      auto project = view(spec.getProject());
      note_disks(out, from, pool, project, expand(spec).devices, url_of_in("instances", project, view(spec.getName())));
    });
    return true;
  });
  from.scan(table::profiles, "", [&](std::string_view key, std::string_view bytes) {
    auto slash = key.find('/');
    auto project = key.substr(0, slash);
    message<schema::ProfileSpec>::from_bytes(bytes).read([&](schema::ProfileSpec::Reader profile) {
      note_disks(out, from, pool, project, to_map(profile.getDevices()),
                 url_of_in("profiles", project, key.substr(slash + 1)));
    });
    return true;
  });
  return out;
}

outcome<project_use> use_of_volume(std::string_view project, const config_map& project_config, std::string_view pool,
                                   const config_map& config) {
  auto size = get(config, "size");
  if (auto good = check_sized(project, project_config, pool, size, "the volume"); !good)
    return tl::unexpected{good.error()};
  project_use use;
  use.disk = parse_size(size).value_or(0);
  use.pools[std::string{pool}] = use.disk;
  return use;
}

outcome<plan_ptr> plan_of(const snapshot& records, const create_volume& request) {
  return request.request.body.read([&](schema::VolumesPost::Reader post) -> outcome<plan_ptr> {
    auto& head = *request.request.head;
    auto where = place_of(records, head, request.pool, text(post.getName()));
    if (auto type = view(post.getType()); !type.empty() && type != "custom")
      return fail(fault::invalid, "Only volumes of type \"custom\" can be made");
    if (auto content = view(post.getContentType()); !content.empty() && content != "filesystem")
      return fail(fault::unsupported, "Content type \"" + std::string{content} + "\" is not supported yet");
    if (auto good = check_new(records, where); !good) return tl::unexpected{good.error()};
    if (auto good = check_text("description", view(post.getDescription())); !good) return tl::unexpected{good.error()};
    auto config = to_map(post.getConfig());
    std::erase_if(config, [](auto& entry) { return entry.second.empty() || entry.first.starts_with("volatile."); });
    auto begun = begin_volume(records, head, where, post, config);
    if (!begun) return tl::unexpected{begun.error()};
    if (auto good = check_config(records, where.pool, config); !good) return tl::unexpected{good.error()};
    bool copies = begun->step.kind == "volume.copy";
    auto plan = new_saga(where, request.request.head, "volume.create",
                         copies ? "Copying storage volume" : "Creating storage volume");
    if (auto good = claim(*plan, records, where, config); !good) return tl::unexpected{good.error()};
    plan->before.push_back(std::move(begun->step));
    if (begun->with_snapshots_of)
      if (auto good = copy_snapshots(*plan, records, *begun->with_snapshots_of, where); !good)
        return tl::unexpected{good.error()};
    for (auto& each : {absent(table::custom_volumes, where.key()), unchanged(records, table::pools, where.pool)})
      plan->commit.conditions.push_back(each);
    plan->commit.writes.push_back(
        put(table::custom_volumes, where.key(), volume_record::make([&](schema::VolumeSpec::Builder v) {
              v.setName(where.name);
              v.setDescription(post.getDescription());
              v.setType("custom");
              v.setContentType("filesystem");
              v.setProject(where.project);
              v.setLocation("none");
              v.setPool(where.pool);
              v.setCreatedAt(now_ns());
              fill(v.initConfig(static_cast<unsigned>(config.size())), config);
            })));
    tell(*plan, where, "storage-volume-created");
    return plan;
  });
}

outcome<plan_ptr> plan_of(const snapshot& records, const update_volume& request) {
  auto where = place_of(records, *request.request.head, request.pool, request.name);
  auto record = find_volume(records, where);
  if (!record) return tl::unexpected{record.error()};
  if (!request.etag.empty() && request.etag != etag_of(record->bytes()))
    return fail(fault::precondition, "The storage volume was changed in the meantime (ETag does not match)");
  return request.request.body.read([&](schema::VolumePut::Reader wish) -> outcome<plan_ptr> {
    if (wish.getRestore().size())
      return plan_volume_restore(records, where, *record, view(wish.getRestore()), request.request.head);
    if (auto good = check_text("description", view(wish.getDescription())); !good) return tl::unexpected{good.error()};
    auto before = record->read([](auto v) { return to_map(v.getConfig()); });
    auto config = to_map(wish.getConfig());
    if (request.patch)
      for (auto& [key, value] : before) config.emplace(key, value);
    std::erase_if(config, [](auto& entry) { return entry.second.empty(); });
    if (auto good = check_config(records, where.pool, config); !good) return tl::unexpected{good.error()};
    auto plan = new_saga(where, request.request.head, "volume.update", "Updating storage volume");
    auto had = get(before, "size"), size = get(config, "size");
    if (had != size) {
      if (auto good = claim(*plan, records, where, config); !good) return tl::unexpected{good.error()};
      plan->before.push_back(
          {"volume.limit",
           {{"pool", where.pool}, {"volume", where.volume()}, {"size", std::string{size}}, {"was", std::string{had}}}});
    }
    plan->commit.conditions.push_back(unchanged(records, table::custom_volumes, where.key()));
    plan->commit.writes.push_back(
        put(table::custom_volumes, where.key(), changed(*record, [&](schema::VolumeSpec::Builder v) {
              if (!request.patch || wish.hasDescription()) v.setDescription(wish.getDescription());
              fill(v.initConfig(static_cast<unsigned>(config.size())), config);
            })));
    tell(*plan, where, "storage-volume-updated");
    return plan;
  });
}

outcome<plan_ptr> plan_of(const snapshot& records, const move_volume& request) {
  auto from = place_of(records, *request.request.head, request.pool, request.name);
  auto record = find_volume(records, from);
  if (!record) return tl::unexpected{record.error()};
  return request.request.body.read([&](schema::VolumePost::Reader post) -> outcome<plan_ptr> {
    auto& head = *request.request.head;
    if (post.hasTarget() || (post.getMigration() && post.getPool().size() == 0 && post.getProject().size() == 0))
      return fail(fault::unsupported, "Volumes cannot go to other servers yet");
    auto to = from;
    if (post.getName().size()) to.name = text(post.getName());
    if (post.getPool().size()) to.pool = text(post.getPool());
    if (auto project = text(post.getProject()); !project.empty()) {
      if (!records.get(table::projects, project) || !head.who.may("can_create_storage_volumes", the_project(project)))
        return fail(fault::not_found, "Project not found");
      to.project = home_of(records, project, feature::volumes);
    }
    if (auto good = check_new(records, to); !good) return tl::unexpected{good.error()};
    if (auto good = check_unused(records, from); !good) return tl::unexpected{good.error()};
    auto config = record->read([](auto v) { return to_map(v.getConfig()); });
    if (auto good = check_config(records, to.pool, config); !good) return tl::unexpected{good.error()};
    bool renames = from.pool == to.pool;
    auto plan = new_saga(from, request.request.head, "volume.move",
                         renames ? "Renaming storage volume" : "Moving storage volume");
    plan->resources = {{"storage_volumes", {to.url()}}};
    if (from.project != to.project)
      if (auto good = claim(*plan, records, to, config); !good) return tl::unexpected{good.error()};
    if (renames) {
      plan->before.push_back({"volume.rename", {{"pool", to.pool}, {"from", from.volume()}, {"to", to.volume()}}});
    } else {
      plan->before.push_back(
          copy_step(to.pool, to.volume(), from.pool, from.volume(), std::string{get(config, "size")}));
      plan->after.push_back({"volume.destroy", {{"pool", from.pool}, {"volume", from.volume()}}});
    }
    plan->commit.conditions = {unchanged(records, table::custom_volumes, from.key()),
                               absent(table::custom_volumes, to.key()), unchanged(records, table::pools, to.pool)};
    plan->commit.writes = {erase(table::custom_volumes, from.key()),
                           put(table::custom_volumes, to.key(), changed(*record, [&](schema::VolumeSpec::Builder v) {
                                 v.setName(to.name);
                                 v.setPool(to.pool);
                                 v.setProject(to.project);
                               }))};
    move_snapshots(*plan, records, from, to);
    tell(*plan, to, "storage-volume-renamed", {{"old_name", from.name}});
    return plan;
  });
}

outcome<plan_ptr> plan_of(const snapshot& records, const delete_volume& request) {
  auto where = place_of(records, *request.head, request.pool, request.name);
  auto record = find_volume(records, where);
  if (!record) return tl::unexpected{record.error()};
  if (auto good = check_unused(records, where); !good) return tl::unexpected{good.error()};
  auto plan = new_saga(where, request.head, "volume.delete", "Deleting storage volume");
  plan->commit.conditions.push_back(unchanged(records, table::custom_volumes, where.key()));
  plan->commit.writes.push_back(erase(table::custom_volumes, where.key()));
  tell(*plan, where, "storage-volume-deleted");
  plan->after.push_back({"volume.destroy", {{"pool", where.pool}, {"volume", where.volume()}}});
  remove_snapshots(*plan, records, where);
  return plan;
}

} // namespace troupe
