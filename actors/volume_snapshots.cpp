#include "actors/volume_snapshots.hpp"

#include "actors/expander.hpp"
#include "actors/instance_copy.hpp"
#include "actors/names.hpp"
#include "actors/project_keys.hpp"
#include "actors/server_keys.hpp"
#include "actors/snapshot_pattern.hpp"
#include "runtime/uuid.hpp"

#include <algorithm>

namespace troupe {
namespace {

using plan_ptr = std::shared_ptr<saga>;

constexpr std::string_view prefix = "volume-snapshot/";
constexpr int64_t second_ns = 1'000'000'000;

std::string name_of(const volume_snapshot& taken) {
  return taken.read([](auto s) { return text(s.getName()); });
}

std::string url_of(const volume_place& of, const std::string& name) {
  auto plain = "/1.0/storage-pools/" + of.pool + "/volumes/custom/" + of.name + "/snapshots/" + name;
  return of.project == "default" ? plain : plain + "?project=" + of.project;
}

plan_ptr new_saga(const volume_place& of, const std::shared_ptr<const header>& head, std::string kind,
                  std::string description, const std::string& name) {
  auto plan = std::make_shared<saga>();
  plan->kind = std::move(kind);
  plan->description = std::move(description);
  plan->head = head;
  plan->entity = "storage-volume/" + of.key();
  plan->resources = {{"storage_volumes", {of.url()}}, {"storage_volume_snapshots", {url_of(of, name)}}};
  return plan;
}

void tell(saga& plan, const volume_place& of, const std::string& name, const char* action, config_map context = {}) {
  context.emplace("type", "custom");
  plan.commit.events.push_back(lifecycle_event(*plan.head, "storage-volume", of.pool + "/custom/" + of.name, action,
                                               url_of(of, name), std::move(context)));
}

outcome<std::string> new_name(const snapshot& records, const volume_place& of, std::string_view wanted,
                              const config_map& config) {
  std::vector<std::string> names;
  for (auto& each : snapshots_of(records, of)) names.push_back(name_of(each));
  auto name = wanted.empty() ? next_snapshot_name(names, get(config, "snapshots.pattern"), now_ns() / second_ns)
                             : outcome<std::string>{std::string{wanted}};
  if (!name) return name;
  if (auto good = check_plain_name("Snapshot", *name); !good) return tl::unexpected{good.error()};
  if (std::find(names.begin(), names.end(), *name) != names.end())
    return fail(fault::already_exists, "Snapshot \"" + *name + "\" already exists");
  return name;
}

outcome<int64_t> expiry_of(int64_t given, const config_map& config) {
  if (given != -1) return given;
  auto span = get(config, "snapshots.expiry");
  if (span.empty()) return 0;
  auto when = later_by(now_ns() / second_ns, span);
  return when ? outcome<int64_t>{*when * second_ns} : tl::unexpected{when.error()};
}

// Its processes would keep what the volume was, and find its files gone.
outcome<void> check_no_running_user(const snapshot& records, const volume_place& of) {
  expander expand{records};
  outcome<void> out;
  records.scan(table::instances, "", [&](std::string_view key, std::string_view bytes) {
    auto status = load<schema::InstanceStatus>(records, table::statuses, key);
    if (!status || status->read([](auto s) { return s.getState() == instance_state::STOPPED; })) return true;
    message<schema::InstanceSpec>::from_bytes(bytes).read([&](schema::InstanceSpec::Reader spec) {
      for (auto& [name, device] : expand(spec).devices)
        if (is_disk_of(records, view(spec.getProject()), device, of))
          out = fail(fault::in_use, "The storage volume is in use by \"" + text(spec.getName()) + "\", which runs");
    });
    return out.has_value();
  });
  return out;
}

outcome<plan_ptr> plan_rename(const snapshot& records, const volume_place& of, const change_volume_snapshot& request,
                              const volume_snapshot& taken) {
  if (auto good = check_plain_name("Snapshot", request.new_name); !good) return tl::unexpected{good.error()};
  auto to = volume_snapshot_key(of, request.new_name);
  if (records.get(volume_snapshots_table, to))
    return fail(fault::already_exists, "Snapshot \"" + request.new_name + "\" already exists");
  auto plan =
      new_saga(of, request.head, "volume.snapshot.rename", "Renaming storage volume snapshot", request.new_name);
  plan->commit.conditions.push_back(absent(volume_snapshots_table, to));
  plan->commit.writes = {
      erase(volume_snapshots_table, volume_snapshot_key(of, request.snapshot)),
      put(volume_snapshots_table, to, changed(taken, [&](auto s) { s.setName(request.new_name); })),
  };
  tell(*plan, of, request.new_name, "storage-volume-snapshot-renamed", {{"old_name", request.snapshot}});
  return plan;
}

outcome<plan_ptr> plan_edit(const volume_place& of, const change_volume_snapshot& request,
                            const volume_snapshot& taken) {
  if (!request.etag.empty() && request.etag != etag_of(taken.bytes()))
    return fail(fault::precondition, "The snapshot was changed in the meantime (ETag does not match)");
  if (auto good = check_text("description", request.description.value_or("")); !good)
    return tl::unexpected{good.error()};
  auto plan =
      new_saga(of, request.head, "volume.snapshot.update", "Updating storage volume snapshot", request.snapshot);
  plan->commit.writes.push_back(put(volume_snapshots_table, volume_snapshot_key(of, request.snapshot),
                                    changed(taken, [&](schema::VolumeSnapshotSpec::Builder s) {
                                      if (request.description) s.setDescription(*request.description);
                                      if (request.expires_at) s.setExpiresAt(*request.expires_at);
                                    })));
  tell(*plan, of, request.snapshot, "storage-volume-snapshot-updated");
  return plan;
}

plan_ptr plan_removal(const volume_place& of, const change_volume_snapshot& request, const volume_snapshot& taken) {
  auto plan =
      new_saga(of, request.head, "volume.snapshot.delete", "Deleting storage volume snapshot", request.snapshot);
  plan->commit.writes.push_back(erase(volume_snapshots_table, volume_snapshot_key(of, request.snapshot)));
  plan->after.push_back({"volume.destroy", {{"pool", of.pool}, {"volume", volume_of(taken)}}});
  tell(*plan, of, request.snapshot, "storage-volume-snapshot-deleted");
  return plan;
}

} // namespace

std::string volume_snapshot_key(const volume_place& of, std::string_view name) {
  return std::string{prefix} + of.key() + '/' + std::string{name};
}

std::vector<volume_snapshot> snapshots_of(const snapshot& records, const volume_place& of) {
  std::vector<volume_snapshot> found;
  records.scan(volume_snapshots_table, volume_snapshot_key(of, ""), [&](std::string_view, std::string_view bytes) {
    found.push_back(volume_snapshot::from_bytes(bytes));
    return true;
  });
  auto age = [](const volume_snapshot& each) { return each.read([](auto s) { return s.getCreatedAt(); }); };
  std::stable_sort(found.begin(), found.end(), [&](auto& a, auto& b) { return age(a) < age(b); });
  return found;
}

std::string volume_of(const volume_snapshot& taken) {
  // Custom ones keep the owner and mode of their root. No volume's own name is without "PROJECT_".
  return "custom/snapshot-" + taken.read([](auto s) { return text(s.getVolume()); });
}

outcome<plan_ptr> plan_of(const snapshot& records, const snapshot_volume& request) {
  auto& head = request.request.head;
  auto of = place_of(records, *head, request.pool, request.name);
  auto record = find_volume(records, of);
  if (!record) return tl::unexpected{record.error()};
  if (auto good = check_snapshots_allowed(records, head->project); !good) return tl::unexpected{good.error()};
  auto config = record->read([](auto v) { return to_map(v.getConfig()); });
  return request.request.body.read([&](schema::VolumeSnapshotsPost::Reader post) -> outcome<plan_ptr> {
    if (auto good = check_text("description", view(post.getDescription())); !good) return tl::unexpected{good.error()};
    auto name = new_name(records, of, view(post.getName()), config);
    if (!name) return tl::unexpected{name.error()};
    auto expires_at = expiry_of(post.getExpiresAt(), config);
    if (!expires_at) return tl::unexpected{expires_at.error()};
    auto taken = volume_snapshot::make([&](schema::VolumeSnapshotSpec::Builder s) {
      s.setName(*name);
      s.setDescription(post.getDescription());
      s.setContentType("filesystem");
      s.setCreatedAt(now_ns());
      s.setExpiresAt(*expires_at);
      fill(s.initConfig(static_cast<unsigned>(config.size())), config);
      s.setVolume(make_uuid_v4());
    });
    auto plan = new_saga(of, head, "volume.snapshot.create", "Creating storage volume snapshot", *name);
    plan->before.push_back({"volume.copy", {{"pool", of.pool}, {"from", of.volume()}, {"volume", volume_of(taken)}}});
    auto key = volume_snapshot_key(of, *name);
    plan->commit.conditions = {absent(volume_snapshots_table, key),
                               unchanged(records, table::custom_volumes, of.key())};
    plan->commit.writes.push_back(put(volume_snapshots_table, key, taken));
    tell(*plan, of, *name, "storage-volume-snapshot-created");
    return plan;
  });
}

outcome<plan_ptr> plan_of(const snapshot& records, const change_volume_snapshot& request) {
  auto of = place_of(records, *request.head, request.pool, request.name);
  auto key = volume_snapshot_key(of, request.snapshot);
  auto taken = load<schema::VolumeSnapshotSpec>(records, volume_snapshots_table, key);
  if (!taken) return fail(fault::not_found, "Storage volume snapshot not found");
  using verb = change_volume_snapshot::verb;
  auto plan = request.what == verb::remove   ? outcome<plan_ptr>{plan_removal(of, request, *taken)}
              : request.what == verb::rename ? plan_rename(records, of, request, *taken)
                                             : plan_edit(of, request, *taken);
  if (plan) (*plan)->commit.conditions.push_back(unchanged(records, volume_snapshots_table, key));
  return plan;
}

outcome<plan_ptr> plan_volume_restore(const snapshot& records, const volume_place& where, const volume_record& record,
                                      std::string_view snapshot_name, const std::shared_ptr<const header>& head) {
  auto own = where.name + '/';
  std::string name{snapshot_name.starts_with(own) ? snapshot_name.substr(own.size()) : snapshot_name};
  auto key = volume_snapshot_key(where, name);
  auto taken = load<schema::VolumeSnapshotSpec>(records, volume_snapshots_table, key);
  if (!taken) return fail(fault::not_found, "Storage volume snapshot not found");
  auto plan = new_saga(where, head, "volume.restore", "Restoring storage volume", name);
  plan->admit = [where](const snapshot& now) -> outcome<batch> {
    if (auto good = check_no_running_user(now, where); !good) return tl::unexpected{good.error()};
    return batch{};
  };
  if (auto good = plan->admit(records); !good) return tl::unexpected{good.error()};
  auto copy = where.volume() + '.' + make_uuid_v4();
  auto size = record.read([](auto v) { return std::string{get(to_map(v.getConfig()), "size")}; });
  plan->before.push_back(
      {"volume.copy", {{"pool", where.pool}, {"from", volume_of(*taken)}, {"volume", copy}, {"size", size}}});
  plan->commit.conditions = {unchanged(records, table::custom_volumes, where.key()),
                             unchanged(records, volume_snapshots_table, key)};
  plan->commit.events.push_back(lifecycle_event(*head, "storage-volume", where.pool + "/custom/" + where.name,
                                                "storage-volume-restored", where.url(),
                                                {{"type", "custom"}, {"snapshot", name}}));
  plan->after.push_back({"volume.replace", {{"pool", where.pool}, {"volume", where.volume()}, {"by", copy}}});
  return plan;
}

outcome<void> copy_snapshots(saga& plan, const snapshot& records, const volume_place& from, const volume_place& to) {
  auto all = snapshots_of(records, from);
  if (all.empty()) return {};
  if (auto good = check_snapshots_allowed(records, to.project); !good) return good;
  for (auto& each : all) {
    auto copy = changed(each, [](schema::VolumeSnapshotSpec::Builder s) { s.setVolume(make_uuid_v4()); });
    plan.before.push_back(copy_step(to.pool, volume_of(copy), from.pool, volume_of(each)));
    plan.commit.conditions.push_back(
        unchanged(records, volume_snapshots_table, volume_snapshot_key(from, name_of(each))));
    plan.commit.writes.push_back(put(volume_snapshots_table, volume_snapshot_key(to, name_of(each)), copy));
  }
  return {};
}

void move_snapshots(saga& plan, const snapshot& records, const volume_place& from, const volume_place& to) {
  for (auto& each : snapshots_of(records, from)) {
    auto key = volume_snapshot_key(from, name_of(each));
    auto moved = each;
    if (from.pool != to.pool) {
      moved = changed(each, [](schema::VolumeSnapshotSpec::Builder s) { s.setVolume(make_uuid_v4()); });
      plan.before.push_back(copy_step(to.pool, volume_of(moved), from.pool, volume_of(each)));
      plan.after.push_back({"volume.destroy", {{"pool", from.pool}, {"volume", volume_of(each)}}});
    }
    plan.commit.conditions.push_back(unchanged(records, volume_snapshots_table, key));
    plan.commit.writes.push_back(erase(volume_snapshots_table, key));
    plan.commit.writes.push_back(put(volume_snapshots_table, volume_snapshot_key(to, name_of(each)), moved));
  }
}

void remove_snapshots(saga& plan, const snapshot& records, const volume_place& of) {
  for (auto& each : snapshots_of(records, of)) {
    auto key = volume_snapshot_key(of, name_of(each));
    plan.commit.conditions.push_back(unchanged(records, volume_snapshots_table, key));
    plan.commit.writes.push_back(erase(volume_snapshots_table, key));
    plan.after.push_back({"volume.destroy", {{"pool", of.pool}, {"volume", volume_of(each)}}});
  }
}

} // namespace troupe
