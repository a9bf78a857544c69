#include "actors/instance_snapshot.hpp"

#include "actors/names.hpp"
#include "actors/project_keys.hpp"
#include "actors/server_keys.hpp"
#include "actors/snapshot_pattern.hpp"
#include "backends/storage/storage_driver.hpp"
#include "runtime/uuid.hpp"

#include <algorithm>

namespace troupe {
namespace {

constexpr int64_t second_ns = 1'000'000'000;

std::string url_of(const instance_data& me, const std::string& name) { return me.url() + "/snapshots/" + name; }

std::shared_ptr<saga> new_saga(const instance_data& me, const std::shared_ptr<const header>& head, std::string kind,
                               std::string description, const std::string& name) {
  auto plan = instance_saga(me, head, std::move(kind), std::move(description));
  plan->resources = {{"instances", {url_of_in("instances", me.project, me.name)}},
                     {"instances_snapshots", {url_of(me, name)}}};
  return plan;
}

std::vector<std::string> names_of(const std::vector<snapshot_record>& taken) {
  std::vector<std::string> out;
  for (auto& each : taken) out.push_back(each.read([](auto s) { return text(s.getName()); }));
  return out;
}

outcome<int64_t> expiry_of(schema::SnapshotsPost::Reader post, const expansion& effective) {
  if (post.getExpiresAt() != -1) return post.getExpiresAt();
  auto span = get(effective.config, "snapshots.expiry");
  if (span.empty()) return 0;
  auto when = later_by(now_ns() / second_ns, span);
  if (!when) return tl::unexpected{when.error()};
  return *when * second_ns;
}

outcome<std::string> name_of(schema::SnapshotsPost::Reader post, const snapshot& records, const instance_data& me,
                             const expansion& effective) {
  auto name = post.getName().size()
                  ? outcome<std::string>{text(post.getName())}
                  : next_snapshot_name(names_of(snapshots_of(records, me.project, me.name)),
                                       get(effective.config, "snapshots.pattern"), now_ns() / second_ns);
  if (!name) return name;
  if (auto good = check_plain_name("Snapshot", *name); !good) return tl::unexpected{good.error()};
  return name;
}

message<schema::UpdateInstance> as_it_was(const snapshot_record& taken, const std::string& etag) {
  return taken.read([&](schema::SnapshotSpec::Reader was) {
    return message<schema::UpdateInstance>::make([&](schema::UpdateInstance::Builder put) {
      put.setArchitecture(was.getArchitecture());
      put.setDescription(was.getDescription());
      put.setEphemeral(was.getEphemeral());
      put.setProfiles(was.getProfiles());
      put.setConfig(was.getConfig());
      put.setDevices(was.getDevices());
      put.setEtag(etag);
    });
  });
}

outcome<std::shared_ptr<saga>> plan_removal(const instance_data& me, const snapshot& records,
                                            const change_snapshot& request, const snapshot_record& taken) {
  auto plan = new_saga(me, request.head, "snapshot.delete", "Deleting snapshot", request.name);
  remove_snapshot(*plan, records, me, *request.head, taken);
  return plan;
}

outcome<std::shared_ptr<saga>> plan_renaming(const instance_data& me, const snapshot& records,
                                             const change_snapshot& request, const snapshot_record& taken) {
  if (auto good = check_plain_name("Snapshot", request.new_name); !good) return tl::unexpected{good.error()};
  auto key = snapshot_key(me.project, me.name, request.new_name);
  if (records.get(table::snapshots, key))
    return fail(fault::already_exists, "Snapshot \"" + request.new_name + "\" already exists");
  auto plan = new_saga(me, request.head, "snapshot.rename", "Renaming snapshot", request.new_name);
  plan->commit.writes = {
      erase(table::snapshots, snapshot_key(me.project, me.name, request.name)),
      put(table::snapshots, key, changed(taken, [&](auto s) { s.setName(request.new_name); })),
  };
  plan->commit.events.push_back(lifecycle_event(*request.head, "instance", me.name, "instance-snapshot-renamed",
                                                url_of(me, request.new_name), {{"old_name", request.name}}));
  return plan;
}

outcome<std::shared_ptr<saga>> plan_edit(const instance_data& me, const change_snapshot& request,
                                         const snapshot_record& taken) {
  if (!request.etag.empty() && request.etag != etag_of(taken.bytes()))
    return fail(fault::precondition, "The snapshot was changed in the meantime (ETag does not match)");
  auto plan = new_saga(me, request.head, "snapshot.update", "Updating snapshot", request.name);
  plan->commit.writes.push_back(put(table::snapshots, snapshot_key(me.project, me.name, request.name),
                                    changed(taken, [&](auto s) { s.setExpiresAt(request.expires_at); })));
  plan->commit.events.push_back(
      lifecycle_event(*request.head, "instance", me.name, "instance-snapshot-updated", url_of(me, request.name)));
  return plan;
}

} // namespace

outcome<void> check_snapshots_allowed(const snapshot& records, const std::string& project) {
  auto rules = project_config(records, project);
  if (is_true(get(rules, "restricted")) && get(rules, "restricted.snapshots", "block") != "allow")
    return fail(fault::forbidden, "Project \"" + project + "\" does not allow snapshots");
  return {};
}

std::string snapshot_key(std::string_view project, std::string_view instance, std::string_view name) {
  return in_project(in_project(project, instance), name);
}

std::vector<snapshot_record> snapshots_of(const snapshot& records, std::string_view project,
                                          std::string_view instance) {
  std::vector<snapshot_record> found;
  records.scan(table::snapshots, snapshot_key(project, instance, ""), [&](std::string_view, std::string_view bytes) {
    found.push_back(snapshot_record::from_bytes(bytes));
    return true;
  });
  auto age = [](const snapshot_record& each) { return each.read([](auto s) { return s.getCreatedAt(); }); };
  std::stable_sort(found.begin(), found.end(), [&](auto& a, auto& b) { return age(a) < age(b); });
  return found;
}

std::string volume_of(const snapshot_record& taken) {
  return "snapshots/" + taken.read([](auto s) { return text(s.getVolume()); });
}

snapshot_record make_snapshot(schema::InstanceSpec::Reader from, std::string_view name, int64_t expires_at,
                              int64_t last_used_at) {
  return snapshot_record::make([&](schema::SnapshotSpec::Builder s) {
    s.setName(std::string{name});
    s.setDescription(from.getDescription());
    s.setArchitecture(from.getArchitecture());
    s.setEphemeral(from.getEphemeral());
    s.setProfiles(from.getProfiles());
    s.setConfig(from.getConfig());
    s.setDevices(from.getDevices());
    s.setCreatedAt(now_ns());
    s.setExpiresAt(expires_at);
    s.setLastUsedAt(last_used_at);
    s.setPool(from.getPool());
    s.setVolume(make_uuid_v4());
  });
}

outcome<void> check_of_one_moment(const snapshot& records, schema::InstanceSpec::Reader is) {
  if (is.getType() != schema::InstanceType::VIRTUAL_MACHINE) return {};
  auto key = in_project(view(is.getProject()), view(is.getName()));
  auto status = load<schema::InstanceStatus>(records, table::statuses, key).value_or(status_record{});
  if (status.read([](auto s) { return s.getState(); }) == instance_state::STOPPED) return {};
  auto pool = load<schema::PoolSpec>(records, table::pools, view(is.getPool()));
  auto driver = pool ? make_storage_driver(pool->read([](auto p) { return text(p.getDriver()); }), {}, {}) : nullptr;
  if (driver && driver->traits().snapshots) return {};
  return fail(fault::wrong_state, "The disk of a running virtual machine cannot be copied on a storage pool without "
                                  "snapshots of its own; stop it first");
}

outcome<std::shared_ptr<saga>> plan_snapshot(const instance_data& me, const envelope<schema::SnapshotsPost>& request) {
  auto records = me.with.db.read();
  auto spec = load<schema::InstanceSpec>(records, table::instances, me.id());
  if (!spec) return fail(fault::not_found, "Instance not found");
  if (auto good = check_snapshots_allowed(records, me.project); !good) return tl::unexpected{good.error()};
  return request.body.read([&](schema::SnapshotsPost::Reader post) -> outcome<std::shared_ptr<saga>> {
    if (post.getStateful()) return fail(fault::unsupported, "Stateful snapshots are not supported yet");
    return spec->read([&](schema::InstanceSpec::Reader is) -> outcome<std::shared_ptr<saga>> {
      if (auto good = check_of_one_moment(records, is); !good) return tl::unexpected{good.error()};
      auto effective = expand(records, is);
      auto name = name_of(post, records, me, effective);
      if (!name) return tl::unexpected{name.error()};
      auto key = snapshot_key(me.project, me.name, *name);
      if (records.get(table::snapshots, key))
        return fail(fault::already_exists, "Snapshot \"" + *name + "\" already exists");
      auto expires_at = expiry_of(post, effective);
      if (!expires_at) return tl::unexpected{expires_at.error()};
      auto used_at = me.status.read([](auto status) { return status.getLastUsedAt(); });
      auto taken = changed(make_snapshot(is, *name, *expires_at, used_at),
                           [&](schema::SnapshotSpec::Builder s) { s.setScheduled(post.getScheduled()); });
      auto plan = new_saga(me, request.head, "snapshot.create", "Snapshotting instance", *name);
      plan->before.push_back(
          {"volume.copy", {{"pool", text(is.getPool())}, {"from", me.volume()}, {"volume", volume_of(taken)}}});
      plan->commit.conditions.push_back(absent(table::snapshots, key));
      plan->commit.writes.push_back(put(table::snapshots, key, taken));
      plan->commit.events.push_back(
          lifecycle_event(*request.head, "instance", me.name, "instance-snapshot-created", url_of(me, *name)));
      return plan;
    });
  });
}

outcome<std::shared_ptr<saga>> plan_snapshot_change(const instance_data& me, const change_snapshot& request) {
  auto records = me.with.db.read();
  auto key = snapshot_key(me.project, me.name, request.name);
  auto taken = load<schema::SnapshotSpec>(records, table::snapshots, key);
  if (!taken) return fail(fault::not_found, "Snapshot not found");
  auto plan = request.what == change_snapshot::verb::remove   ? plan_removal(me, records, request, *taken)
              : request.what == change_snapshot::verb::rename ? plan_renaming(me, records, request, *taken)
                                                              : plan_edit(me, request, *taken);
  if (plan) (*plan)->commit.conditions.push_back(unchanged(records, table::snapshots, key));
  return plan;
}

outcome<std::shared_ptr<saga>> plan_restore(const instance_data& me, const envelope<schema::UpdateInstance>& request) {
  auto [name, etag] = request.body.read([](schema::UpdateInstance::Reader put) {
    return std::pair{text(put.getRestore()), text(put.getEtag())};
  });
  if (name.starts_with(me.name + "/")) name.erase(0, me.name.size() + 1); // as the stock client calls it
  auto records = me.with.db.read();
  auto key = snapshot_key(me.project, me.name, name);
  auto taken = load<schema::SnapshotSpec>(records, table::snapshots, key);
  if (!taken) return fail(fault::not_found, "Snapshot not found");
  auto plan = plan_change(me, {as_it_was(*taken, etag), request.head}, true);
  if (!plan) return plan;
  auto& work = **plan;
  work.kind = "instance.restore";
  work.description = "Restoring snapshot";
  work.commit.conditions.push_back(unchanged(records, table::snapshots, key));
  work.commit.events = {
      lifecycle_event(*request.head, "instance", me.name, "instance-restored", me.url(), {{"snapshot", name}})};
  auto pool = taken->read([](auto s) { return text(s.getPool()); });
  auto copy = me.volume() + "." + make_uuid_v4();
  auto size = taken->read([&](schema::SnapshotSpec::Reader was) {
    auto effective =
        expand(records, me.project, to_vector(was.getProfiles()), to_map(was.getConfig()), to_map(was.getDevices()));
    return std::string{get(*root_disk(effective.devices), "size")};
  });
  work.before = {{"volume.copy", {{"pool", pool}, {"from", volume_of(*taken)}, {"volume", copy}, {"size", size}}}};
  if (!is_down(me)) work.before.push_back(step_of(me, "instance.halt", {{"force", "true"}, {"action", "restore"}}));
  work.after.push_back({"volume.replace", {{"pool", pool}, {"volume", me.volume()}, {"by", copy}}});
  if (!is_down(me)) work.after.push_back(step_of(me, "instance.boot", {{"action", "restore"}}));
  return plan;
}

void remove_snapshot(saga& plan, const snapshot& records, const instance_data& me, const header& head,
                     const snapshot_record& taken) {
  auto [name, pool] = taken.read([](auto s) { return std::pair{text(s.getName()), text(s.getPool())}; });
  auto key = snapshot_key(me.project, me.name, name);
  plan.commit.conditions.push_back(unchanged(records, table::snapshots, key));
  plan.commit.writes.push_back(erase(table::snapshots, key));
  plan.commit.events.push_back(
      lifecycle_event(head, "instance", me.name, "instance-snapshot-deleted", url_of(me, name)));
  plan.after.push_back({"volume.destroy", {{"pool", pool}, {"volume", volume_of(taken)}}});
}

void forget_snapshots(saga& plan, const snapshot& records, const instance_data& me) {
  for (auto& taken : snapshots_of(records, me.project, me.name)) {
    auto [name, pool] = taken.read([](auto s) { return std::pair{text(s.getName()), text(s.getPool())}; });
    plan.commit.writes.push_back(erase(table::snapshots, snapshot_key(me.project, me.name, name)));
    plan.after.push_back({"volume.destroy", {{"pool", pool}, {"volume", volume_of(taken)}}});
  }
}

} // namespace troupe
