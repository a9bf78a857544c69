#include "gateway/volume_view.hpp"

#include "actors/project_keys.hpp"

namespace troupe {
namespace {

message<schema::VolumeSpec> root_volume(schema::InstanceSpec::Reader instance) {
  return message<schema::VolumeSpec>::make([&](schema::VolumeSpec::Builder v) {
    v.setName(instance.getName());
    v.setType("container");
    v.setContentType("filesystem");
    v.setProject(instance.getProject());
    v.setLocation("none");
    v.setCreatedAt(instance.getCreatedAt());
    v.setPool(instance.getPool());
  });
}

void each_custom_volume(const snapshot& records, const std::string& pool, const std::string& project,
                        const volume_visitor& visit) {
  std::optional<std::map<std::string, std::vector<std::string>>> users;
  auto prefix = home_of(records, project, feature::volumes) + '/' + pool + '/';
  records.scan(table::custom_volumes, prefix, [&](std::string_view key, std::string_view bytes) {
    if (!users) users = users_of_volumes(records, pool);
    visit(volume_record::from_bytes(bytes), (*users)[std::string{key}]);
    return true;
  });
}

} // namespace

void each_volume(const snapshot& records, const std::string& pool, const std::string& project, std::string_view type,
                 const volume_visitor& visit) {
  auto home = home_of(records, project, feature::images);
  if (type.empty() || type == "container")
    records.scan(table::instances, project + "/", [&](std::string_view, std::string_view bytes) {
      message<schema::InstanceSpec>::from_bytes(bytes).read([&](schema::InstanceSpec::Reader instance) {
        if (view(instance.getPool()) == pool)
          visit(root_volume(instance), {url_of_in("instances", project, view(instance.getName()))});
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
  return {image ? "images" : "containers", image ? name : instance_key(project, name)};
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
