#include "actors/instance_copy.hpp"

#include "actors/instance_admission.hpp"
#include "actors/instance_receive.hpp"
#include "actors/project_keys.hpp"
#include "messages/rights.hpp"
#include "runtime/uuid.hpp"

#include <algorithm>

namespace troupe {
namespace {

bool is_same(const snapshot_record& a, const snapshot_record& b) {
  auto marks = [](const snapshot_record& each) {
    return each.read([](auto s) { return std::pair{text(s.getName()), s.getCreatedAt()}; });
  };
  return marks(a) == marks(b);
}

bool has(const std::vector<snapshot_record>& all, const snapshot_record& one) {
  return std::any_of(all.begin(), all.end(), [&](auto& each) { return is_same(each, one); });
}

// Those that the original has no more go, those that are missing come.
void refresh_snapshots(saga& plan, const snapshot& records, const instance_data& me, const header& head,
                       const std::string& pool, const std::vector<snapshot_record>& wanted) {
  auto there = snapshots_of(records, me.project, me.name);
  auto key_of = [&](const snapshot_record& each) {
    return snapshot_key(me.project, me.name, each.read([](auto s) { return text(s.getName()); }));
  };
  for (auto& taken : there) {
    if (has(wanted, taken)) continue;
    remove_snapshot(plan, records, me, head, taken);
  }
  for (auto& taken : wanted) {
    if (has(there, taken)) continue;
    auto copy = copy_snapshot(records, me.project, pool, taken);
    plan.before.push_back(copy.step);
    plan.commit.writes.push_back(put(table::snapshots, key_of(taken), copy.record));
  }
}

} // namespace

outcome<original> find_original(const snapshot& records, const header& head, schema::InstanceSource::Reader source) {
  auto project = source.getProject().size() ? text(source.getProject()) : head.project;
  auto whole = text(source.getSource());
  auto slash = whole.find('/');
  auto name = whole.substr(0, slash);
  auto spec = load<schema::InstanceSpec>(records, table::instances, in_project(project, name));
  if (!spec || !head.who.may("can_view", {"instance", project, name}))
    return fail(fault::not_found, "Instance \"" + name + "\" not found");
  original found;
  spec->read([&](schema::InstanceSpec::Reader s) {
    found.pool = text(s.getPool());
    found.base_image = get(to_map(s.getConfig()), "volatile.base_image");
    found.type = s.getType();
  });
  found.volume = volume_word(found.type, instance_key(project, name));
  if (slash == whole.npos) {
    if (auto good = spec->read([&](auto s) { return check_of_one_moment(records, s); }); !good)
      return tl::unexpected{good.error()};
    if (!source.getInstanceOnly() && !source.getContainerOnly()) found.snapshots = snapshots_of(records, project, name);
    auto good = found.snapshots.empty() ? outcome<void>{} : check_snapshots_allowed(records, head.project);
    return good ? outcome<original>{std::move(found)} : tl::unexpected{good.error()};
  }
  auto taken = load<schema::SnapshotSpec>(records, table::snapshots, in_project(project, whole));
  if (!taken) return fail(fault::not_found, "Snapshot \"" + whole + "\" not found");
  found.volume = volume_of(*taken);
  return found;
}

saga_step copy_step(const std::string& pool, const std::string& volume, const std::string& from_pool,
                    const std::string& from, const std::string& size) {
  saga_step step{"volume.copy", {{"pool", pool}, {"volume", volume}, {"from", from}}};
  if (from_pool != pool) step.args.emplace("from_pool", from_pool);
  if (!size.empty()) step.args.emplace("size", size);
  return step;
}

device_map with_root_in(const expansion& effective, device_map devices, const std::string& pool) {
  auto root = root_disk(effective.devices);
  if (!root || get(*root, "pool") == pool) return devices;
  for (auto& [name, device] : effective.devices) {
    if (&device != root) continue;
    auto moved = device;
    moved["pool"] = pool;
    devices.insert_or_assign(name, std::move(moved));
  }
  return devices;
}

snapshot_copy copy_snapshot(const snapshot& records, const std::string& project, const std::string& pool,
                            const snapshot_record& taken) {
  auto copy = changed(taken, [&](schema::SnapshotSpec::Builder s) {
    auto is = s.asReader();
    auto own = to_map(is.getDevices());
    auto effective = expand(records, project, to_vector(is.getProfiles()), to_map(is.getConfig()), own);
    auto devices = with_root_in(effective, std::move(own), pool);
    s.setPool(pool);
    s.setVolume(make_uuid_v4());
    fill(s.initDevices(static_cast<unsigned>(devices.size())), devices);
  });
  auto from_pool = taken.read([](auto s) { return text(s.getPool()); });
  return {copy, copy_step(pool, volume_of(copy), from_pool, volume_of(taken))};
}

outcome<refreshing> begin_refresh(const instance_data& me, const std::shared_ptr<const header>& head,
                                  config_map context) {
  auto records = me.with.db.read();
  auto spec = me.spec();
  if (!spec) return fail(fault::not_found, "Instance not found");
  if (!head->who.may("can_edit", {"instance", me.project, me.name}))
    return fail(fault::forbidden, "Refreshing an instance needs the right to change it");
  if (!is_down(me)) return fail(fault::wrong_state, "A running instance cannot be refreshed; stop it first");
  refreshing out;
  spec->read([&](schema::InstanceSpec::Reader is) {
    out.pool = text(is.getPool());
    out.size = get(*root_disk(expand(records, is).devices), "size");
  });
  out.volume = me.volume() + "." + make_uuid_v4();
  out.plan = instance_saga(me, head, "instance.refresh", "Refreshing instance");
  auto& commit = out.plan->commit;
  commit.conditions.push_back(unchanged(records, table::instances, me.id()));
  commit.writes.push_back(put_record(me, changed(*spec, [](schema::InstanceSpec::Builder b) {
                                       auto config = to_map(b.asReader().getConfig());
                                       config["volatile.apply_template"] = "copy";
                                       fill(b.initConfig(static_cast<unsigned>(config.size())), config);
                                     })));
  commit.events.push_back(
      lifecycle_event(*head, "instance", me.name, "instance-updated", me.url(), std::move(context)));
  out.plan->after.push_back({"volume.replace", {{"pool", out.pool}, {"volume", me.volume()}, {"by", out.volume}}});
  return out;
}

outcome<std::shared_ptr<saga>> plan_refresh(const instance_data& me, const envelope<schema::CreateInstance>& request) {
  return request.body.read([&](schema::CreateInstance::Reader post) -> outcome<std::shared_ptr<saga>> {
    auto source = post.getSource();
    if (view(source.getType()) == "migration") return plan_receive_again(me, request);
    auto records = me.with.db.read();
    auto begun = begin_refresh(me, request.head, {{"refreshed_from", text(source.getSource())}});
    if (!begun) return tl::unexpected{begun.error()};
    auto from = find_original(records, *request.head, source);
    if (!from) return tl::unexpected{from.error()};
    if (from->volume == me.volume()) return fail(fault::invalid, "An instance cannot be refreshed from itself");
    auto& plan = *begun->plan;
    plan.before.push_back(copy_step(begun->pool, begun->volume, from->pool, from->volume, begun->size));
    bool whole = view(source.getSource()).find('/') == std::string_view::npos;
    if (whole && !source.getInstanceOnly() && !source.getContainerOnly())
      refresh_snapshots(plan, records, me, *request.head, begun->pool, from->snapshots);
    return begun->plan;
  });
}

} // namespace troupe
