#pragma once

#include "actors/instance.hpp"

namespace troupe {

using snapshot_record = message<schema::SnapshotSpec>;

std::string snapshot_key(std::string_view project, std::string_view instance, std::string_view name);

/// fault::forbidden where the project's rules allow none.
outcome<void> check_snapshots_allowed(const snapshot& records, const std::string& project);

/// The snapshots of an instance, oldest first.
std::vector<snapshot_record> snapshots_of(const snapshot& records, std::string_view project, std::string_view instance);

/// Its volume, as steps name volumes.
std::string volume_of(const snapshot_record& taken);

/// A copy of `from` as a snapshot called `name` with a volume of its own.
snapshot_record make_snapshot(schema::InstanceSpec::Reader from, std::string_view name, int64_t expires_at,
                              int64_t last_used_at);

/// To the instance: rename, delete or edit one of its snapshots. -> operation_record
struct change_snapshot {
  enum class verb : uint8_t { rename, remove, update };
  verb what = verb::update;
  std::shared_ptr<const header> head;
  std::string name, new_name;
  std::string etag; // empty: unconditional
  int64_t expires_at = 0;
};

outcome<std::shared_ptr<saga>> plan_snapshot(const instance_data& me, const envelope<schema::SnapshotsPost>& request);
outcome<std::shared_ptr<saga>> plan_snapshot_change(const instance_data& me, const change_snapshot& request);
/// The instance as it was: its volume, config, devices and profiles. What runs is stopped and started again.
outcome<std::shared_ptr<saga>> plan_restore(const instance_data& me, const envelope<schema::UpdateInstance>& request);

/// That snapshot, its volume and the word of it.
void remove_snapshot(saga& plan, const snapshot& records, const instance_data& me, const header& head,
                     const snapshot_record& taken);
/// What becomes of the snapshots when their instance goes.
void forget_snapshots(saga& plan, const snapshot& records, const instance_data& me);

/// Whether its volume can be copied as of one moment. wrong_state: a virtual machine runs, and its pool has no
/// snapshots of its own, so that the copy of its disk would be torn.
outcome<void> check_of_one_moment(const snapshot& records, schema::InstanceSpec::Reader is);

} // namespace troupe

TROUPE_LOCAL_MESSAGE(troupe::change_snapshot)
