#include "gateway/volume_view.hpp"

#include "actors/instance_snapshot.hpp"
#include "actors/project_keys.hpp"
#include "actors/volume_snapshots.hpp"

namespace troupe {
namespace {

message<schema::VolumeSpec> root_volume(schema::InstanceSpec::Reader instance) {
  return message<schema::VolumeSpec>::make([&](schema::VolumeSpec::Builder v) {
    v.setName(instance.getName());
    v.setType(std::string{word_of(instance.getType())});
    v.setContentType(instance.getType() == schema::InstanceType::VIRTUAL_MACHINE ? "block" : "filesystem");
    v.setProject(instance.getProject());
    v.setLocation("none");
    v.setCreatedAt(instance.getCreatedAt());
    v.setPool(instance.getPool());
  });
}

// An instance's snapshot, "c1/snap0", beside its root volume.
message<schema::VolumeSpec> as_volume(schema::InstanceSpec::Reader instance, const snapshot_record& taken) {
  return taken.read([&](schema::SnapshotSpec::Reader s) {
    return changed(root_volume(instance), [&](schema::VolumeSpec::Builder v) {
      v.setName(text(instance.getName()) + "/" + text(s.getName()));
      v.setCreatedAt(s.getCreatedAt());
    });
  });
}

volume_record as_volume(const volume_record& of, const volume_snapshot& taken) {
  return taken.read([&](schema::VolumeSnapshotSpec::Reader s) {
    return changed(of, [&](schema::VolumeSpec::Builder v) {
      v.setName(text(v.asReader().getName()) + "/" + text(s.getName()));
      v.setDescription(s.getDescription());
      v.setCreatedAt(s.getCreatedAt());
      v.setConfig(s.getConfig());
    });
  });
}

void visit_instance(const snapshot& records, const std::string& pool, schema::InstanceSpec::Reader instance,
                    const volume_visitor& visit) {
  auto project = view(instance.getProject()), name = view(instance.getName());
  if (view(instance.getPool()) == pool) visit(root_volume(instance), {url_of_in("instances", project, name)});
  for (auto& taken : snapshots_of(records, project, name))
    taken.read([&](schema::SnapshotSpec::Reader s) {
      if (view(s.getPool()) != pool) return;
      auto url = "/1.0/instances/" + text(instance.getName()) + "/snapshots/" + text(s.getName());
      visit(as_volume(instance, taken), {project == "default" ? url : url + "?project=" + std::string{project}});
    });
}

void each_custom_volume(const snapshot& records, const std::string& pool, const std::string& project,
                        const volume_visitor& visit) {
  std::optional<std::map<std::string, std::vector<std::string>>> users;
  auto prefix = home_of(records, project, feature::volumes) + '/' + pool + '/';
  records.scan(table::custom_volumes, prefix, [&](std::string_view key, std::string_view bytes) {
    if (!users) users = users_of_volumes(records, pool);
    auto volume = volume_record::from_bytes(bytes);
    visit(volume, (*users)[std::string{key}]);
    for (auto& taken : snapshots_of(records, place_of(volume))) visit(as_volume(volume, taken), {});
    return true;
  });
}

} // namespace

void each_volume(const snapshot& records, const std::string& pool, const std::string& project, std::string_view type,
                 const volume_visitor& visit) {
  auto home = home_of(records, project, feature::images);
  auto asked = [type](schema::InstanceType is) { return type.empty() || type == word_of(is); };
  if (asked(schema::InstanceType::CONTAINER) || asked(schema::InstanceType::VIRTUAL_MACHINE))
    records.scan(table::instances, project + "/", [&](std::string_view, std::string_view bytes) {
      message<schema::InstanceSpec>::from_bytes(bytes).read([&](schema::InstanceSpec::Reader instance) {
        if (asked(instance.getType())) visit_instance(records, pool, instance, visit);
      });
      return true;
    });
  if (type.empty() || type == "image")
    records.scan(table::volumes, pool + "/image/", [&](std::string_view, std::string_view bytes) {
      auto volume = message<schema::VolumeSpec>::from_bytes(bytes);
      auto fingerprint = volume.read([](auto v) { return text(v.getName()); });
      if (records.get(table::images, in_project(home, fingerprint)))
        visit(volume, {url_of_in("images", home, fingerprint)});
      return true;
    });
  if (type.empty() || type == "custom") each_custom_volume(records, pool, project, visit);
}

volume_id volume_of(const snapshot& records, const std::string& project, const std::string& type,
                    const std::string& name) {
  if (type == "custom") return {"custom", home_of(records, project, feature::volumes) + '_' + name};
  bool image = type == "image";
  if (image) return {"images", name};
  bool machine = type == word_of(schema::InstanceType::VIRTUAL_MACHINE);
  return {machine ? "virtual-machines" : "containers", instance_key(project, name)};
}

outcome<message<schema::PoolResources>> measure_pool(storage_driver& driver) {
  auto space = driver.space();
  if (!space) return tl::unexpected{space.error()};
  return message<schema::PoolResources>::make([&](schema::PoolResources::Builder out) {
    out.getSpace().setUsed(space->used);
    out.getSpace().setTotal(space->total);
    out.getInodes().setUsed(space->inodes_used);
    out.getInodes().setTotal(space->inodes_total);
  });
}

outcome<message<schema::VolumeState>> measure_volume(storage_driver& driver, const volume_id& id) {
  auto used = driver.usage(id);
  if (!used) return tl::unexpected{used.error()};
  return message<schema::VolumeState>::make([&](schema::VolumeState::Builder out) { out.getUsage().setUsed(*used); });
}

} // namespace troupe
