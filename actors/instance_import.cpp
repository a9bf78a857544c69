#include "actors/instance_import.hpp"

#include "actors/config_keys.hpp"
#include "actors/instance_admission.hpp"
#include "actors/instance_snapshot.hpp"
#include "actors/instances.hpp"
#include "actors/names.hpp"
#include "actors/project_keys.hpp"
#include "runtime/uuid.hpp"

#include <set>

namespace troupe {
namespace {

// The addresses that others have by now are not taken a second time.
void leave_foreign_addresses(const snapshot& records, config_map& config) {
  std::set<std::string> taken;
  records.scan(table::instances, "", [&](std::string_view, std::string_view bytes) {
    spec_record::from_bytes(bytes).read([&](schema::InstanceSpec::Reader s) {
      for (auto& [key, value] : to_map(s.getConfig()))
        if (key.starts_with("volatile.") && key.ends_with(".hwaddr")) taken.insert(value);
    });
    return true;
  });
  std::erase_if(config,
                [&](auto& entry) { return entry.first.starts_with("volatile.") && taken.contains(entry.second); });
}

outcome<void> lay_over(device_map& devices, const device_map& effective, const device_map& changes) {
  for (auto& [name, change] : changes) {
    auto known = effective.find(name);
    if (known == effective.end())
      return fail(fault::invalid, "The backup has no device \"" + name + "\" that could be changed");
    auto& device = devices.try_emplace(name, known->second).first->second;
    for (auto& [key, value] : change) device.insert_or_assign(key, value);
  }
  return {};
}

// A root disk of its own in that pool, if it would not be there anyway.
void put_root_in(device_map& devices, const device_map& effective, const std::string& pool) {
  config_map root{{"type", "disk"}, {"path", "/"}};
  std::string name = "root";
  for (auto& [each, device] : effective)
    if (get(device, "type") == "disk" && get(device, "path") == "/") {
      name = each;
      root = device;
    }
  if (get(root, "pool") == pool) return;
  root["pool"] = pool;
  devices.insert_or_assign(name, root);
}

struct settings {
  std::vector<std::string> profiles;
  config_map config;
  device_map devices;
};

template <class Reader>
settings settings_of(Reader from) {
  return {to_vector(from.getProfiles()), to_map(from.getConfig()), to_map(from.getDevices())};
}

outcome<void> apply_changes(const snapshot& records, const import_backup& request, settings& to) {
  auto effective = [&] { return expand(records, request.head->project, to.profiles, to.config, to.devices).devices; };
  if (auto done = lay_over(to.devices, effective(), request.devices); !done) return done;
  auto pool = request.pool;
  auto now = effective();
  auto root = root_disk(now);
  if (pool.empty() && (!root || !records.get(table::pools, get(*root, "pool"))))
    pool = request.index->pool; // as far as there is one of that name
  if (pool.empty() || (request.pool.empty() && !records.get(table::pools, pool)))
    return {}; // the judgement says what is missing
  if (!records.get(table::pools, pool)) return fail(fault::not_found, "Storage pool \"" + pool + "\" not found");
  put_root_in(to.devices, now, pool);
  return {};
}

message<schema::CreateInstance> creation_of(const import_backup& request, const settings& of) {
  return request.index->what.instance.read([&](schema::InstanceSpec::Reader is) {
    return message<schema::CreateInstance>::make([&](schema::CreateInstance::Builder post) {
      post.setName(request.name.empty() ? request.index->name : request.name);
      post.setArchitecture(is.getArchitecture());
      post.setDescription(is.getDescription());
      post.setEphemeral(is.getEphemeral());
      post.setStateful(is.getStateful());
      post.initSource().setType("none");
      fill(post.initProfiles(static_cast<unsigned>(of.profiles.size())), of.profiles);
      fill(post.initConfig(static_cast<unsigned>(of.config.size())), of.config);
      fill(post.initDevices(static_cast<unsigned>(of.devices.size())), of.devices);
    });
  });
}

// What could be restored later is judged now.
outcome<void> judge_snapshot(const snapshot& records, const std::string& project, const std::string& name,
                             const settings& of) {
  if (auto good = check_plain_name("Snapshot", name); !good) return good;
  if (auto good = check_instance_config(of.config); !good) return good;
  if (auto good = check_devices(of.devices); !good) return good;
  if (auto good = check_distinct("Profile", of.profiles); !good) return good;
  auto use = judge_draft(records, {project, schema::InstanceType::CONTAINER, of.profiles, of.config, of.devices});
  return use ? outcome<void>{} : tl::unexpected{use.error()};
}

outcome<void> check_snapshots_allowed(const snapshot& records, const import_backup& request) {
  auto rules = project_config(records, request.head->project);
  if (request.index->what.snapshots.empty() || !is_true(get(rules, "restricted"))) return {};
  if (get(rules, "restricted.snapshots", "block") == "allow") return {};
  return fail(fault::forbidden,
              "Project \"" + request.head->project + "\" does not allow snapshots, which the backup has");
}

outcome<void> add_snapshots(saga& plan, const snapshot& records, const import_backup& request,
                            const std::string& instance, const std::string& pool, started_import& begun) {
  if (auto good = check_snapshots_allowed(records, request); !good) return good;
  std::set<std::string> names;
  for (auto& each : request.index->what.snapshots) {
    auto [name, to] = each.read([](auto s) { return std::pair{text(s.getName()), settings_of(s)}; });
    if (auto done = apply_changes(records, request, to); !done) return done;
    std::erase_if(to.config, [](auto& entry) { return entry.first.starts_with("volatile."); });
    if (auto good = judge_snapshot(records, request.head->project, name, to); !good) return good;
    if (!names.insert(name).second) return fail(fault::invalid, "The backup has two snapshots \"" + name + "\"");
    auto kept = changed(each, [&, &settled = to](schema::SnapshotSpec::Builder s) {
      fill(s.initConfig(static_cast<unsigned>(settled.config.size())), settled.config);
      fill(s.initDevices(static_cast<unsigned>(settled.devices.size())), settled.devices);
      s.setPool(pool);
      s.setVolume(make_uuid_v4());
      s.setSize(-1);
    });
    plan.before.push_back({"volume.create", {{"pool", pool}, {"volume", volume_of(kept)}}});
    plan.commit.writes.push_back(put(table::snapshots, snapshot_key(request.head->project, instance, name), kept));
    begun.targets.push_back({"snapshots/" + name, volume_of(kept)});
  }
  return {};
}

// Streams of a pool are for pools of the same driver, and there is one whose streams we read.
outcome<void> check_form(const snapshot& records, const backup_index& index, const std::string& pool) {
  if (!index.optimized) return {};
  auto into = load<schema::PoolSpec>(records, table::pools, pool);
  auto driver = into ? into->read([](auto p) { return text(p.getDriver()); }) : "";
  if (index.backend == "btrfs" && driver == "btrfs") return {};
  return fail(fault::unsupported, "The backup is in the own form of the storage driver \"" +
                                      index.backend.substr(0, 60) + "\" and cannot go into the pool \"" + pool +
                                      "\" of driver \"" + driver +
                                      "\": only btrfs into btrfs can; export it without --optimized-storage");
}

// It is as old as it was.
void keep_age(saga& plan, const import_backup& request) {
  auto made = request.index->what.instance.read([](auto i) { return i.getCreatedAt(); });
  for (auto& each : plan.commit.writes)
    if (each.where == table::instances && each.value && made > 0)
      each.value = std::string{
          changed(spec_record::from_bytes(*each.value), [&](auto spec) { spec.setCreatedAt(made); }).bytes()};
}

} // namespace

outcome<std::shared_ptr<saga>> plan_import(const services& with, const import_backup& request, uint64_t id,
                                           const std::string& number, started_import& begun) {
  auto records = with.db.read();
  auto to = request.index->what.instance.read([](auto i) { return settings_of(i); });
  leave_foreign_addresses(records, to.config);
  if (auto done = apply_changes(records, request, to); !done) return tl::unexpected{done.error()};
  auto plan = plan_create(with, {creation_of(request, to), request.head}, id);
  if (!plan) return plan;
  auto& work = **plan;
  auto record = work.entity.substr(work.entity.find('/') + 1);
  auto name = record.substr(record.find('/') + 1);
  auto key = instance_key(request.head->project, name);
  auto pool = std::string{get(work.before.front().args, "pool")};
  if (auto good = check_form(records, *request.index, pool); !good) return tl::unexpected{good.error()};
  auto size = std::string{get(work.before.front().args, "size")};
  work.kind = "instance.import";
  work.description = "Restoring backup";
  work.may_cancel = true;
  begun = {request, {{"container", key}}};
  if (auto done = add_snapshots(work, records, request, name, pool, begun); !done) return tl::unexpected{done.error()};
  keep_age(work, request);
  work.before.push_back(
      {"backup.unpack",
       {{"upload", number}, {"pool", pool}, {"project", request.head->project}, {"name", name}, {"size", size}}});
  return plan;
}

} // namespace troupe
