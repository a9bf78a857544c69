#pragma once

#include "actors/instance_snapshot.hpp"

namespace troupe {

/// What is copied: an instance, or one of its snapshots.
struct original {
  std::string pool, volume; // as steps name them
  std::string base_image;   // volatile.base_image
  schema::InstanceType type = schema::InstanceType::CONTAINER;
  std::vector<snapshot_record> snapshots; // that come along, oldest first
};

/// What `source` names: "c1" or "c1/snap0", in its own project or the caller's. What the caller may not see is not
/// there.
outcome<original> find_original(const snapshot& records, const header& head, schema::InstanceSource::Reader source);

/// The step that makes `volume` out of that of `from_pool`.
saga_step copy_step(const std::string& pool, const std::string& volume, const std::string& from_pool,
                    const std::string& from, const std::string& size = {});

/// A snapshot for an instance in that project and pool: the record, with a volume of its own and its root disk in the
/// pool, and the step that copies the volume.
struct snapshot_copy {
  snapshot_record record;
  saga_step step;
};
snapshot_copy copy_snapshot(const snapshot& records, const std::string& project, const std::string& pool,
                            const snapshot_record& taken);

/// A refreshed instance: all but where its new volume comes from, which has to be made in `pool` before the commit.
struct refreshing {
  std::shared_ptr<saga> plan;
  std::string pool, volume, size; // as steps name them
};
/// `context`: of the event. forbidden, wrong_state: it runs.
outcome<refreshing> begin_refresh(const instance_data& me, const std::shared_ptr<const header>& head,
                                  config_map context = {});

/// An instance that is there becomes like the original again: its volume, and its snapshots. Its config stays.
outcome<std::shared_ptr<saga>> plan_refresh(const instance_data& me, const envelope<schema::CreateInstance>& request);

/// `devices`, with the root disk that they or the profiles name in that pool.
device_map with_root_in(const expansion& effective, device_map devices, const std::string& pool);

} // namespace troupe
