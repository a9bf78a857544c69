#pragma once

#include "actors/pools.hpp"
#include "actors/project_use.hpp"

namespace troupe {

// Custom volumes: file systems that belong to no instance and may be attached to several, as disks with `pool` and
// `source`. Ids on disk are the instances' own, whichever ranges these have. Records are PROJECT/POOL/NAME in
// table::custom_volumes; PROJECT is the one whose volumes the caller's project uses (feature::volumes).

using volume_record = message<schema::VolumeSpec>;

struct volume_place {
  std::string project, pool, name;

  std::string key() const { return project + '/' + pool + '/' + name; }
  std::string volume() const { return "custom/" + project + '_' + name; } // as steps name it
  std::string url() const {
    auto plain = "/1.0/storage-pools/" + pool + "/volumes/custom/" + name;
    return project == "default" ? plain : plain + "?project=" + project;
  }
};

volume_place place_of(const volume_record& record);
/// Where a request for that volume of its project is at home.
volume_place place_of(const snapshot& records, const header& head, const std::string& pool, const std::string& name);
outcome<volume_record> find_volume(const snapshot& records, const volume_place& where);
/// Whether a device of an instance or a profile of that project is this volume.
bool is_disk_of(const snapshot& records, std::string_view project, const config_map& device, const volume_place& where);

/// Instances and profiles that have volumes of the pool as disks, as `used_by` shows them, by the volume's key. Looks
/// at all of them.
std::map<std::string, std::vector<std::string>> users_of_volumes(const snapshot& from, std::string_view pool);

/// What it takes of its project's limits. fault::invalid: a limit of the disk needs a "size" of it.
outcome<project_use> use_of_volume(std::string_view project, const config_map& project_config, std::string_view pool,
                                   const config_map& config);

/// Requests to the pools actor. -> operation_record
struct create_volume {
  std::string pool;
  envelope<schema::VolumesPost> request;
};
struct update_volume {
  std::string pool, name, etag;
  envelope<schema::VolumePut> request;
  bool patch = false;
};
struct move_volume { // another name, pool or project
  std::string pool, name;
  envelope<schema::VolumePost> request;
};
struct delete_volume {
  std::string pool, name;
  std::shared_ptr<const header> head;
};

outcome<std::shared_ptr<saga>> plan_of(const snapshot& records, const create_volume& request);
outcome<std::shared_ptr<saga>> plan_of(const snapshot& records, const update_volume& request);
outcome<std::shared_ptr<saga>> plan_of(const snapshot& records, const move_volume& request);
outcome<std::shared_ptr<saga>> plan_of(const snapshot& records, const delete_volume& request);

} // namespace troupe

TROUPE_LOCAL_MESSAGE(troupe::create_volume)
TROUPE_LOCAL_MESSAGE(troupe::update_volume)
TROUPE_LOCAL_MESSAGE(troupe::move_volume)
TROUPE_LOCAL_MESSAGE(troupe::delete_volume)
