#pragma once

#include "actors/volumes.hpp"
#include "messages/volume_snapshot.capnp.h"

namespace troupe {

// Snapshots of custom volumes. A snapshot's volume has a name of its own in the pool, as those of instances; records
// lie in table::meta, below a word of their own.

using volume_snapshot = message<schema::VolumeSnapshotSpec>;
inline constexpr table volume_snapshots_table = table::meta;

std::string volume_snapshot_key(const volume_place& of, std::string_view name);
/// Oldest first.
std::vector<volume_snapshot> snapshots_of(const snapshot& records, const volume_place& of);
/// Its volume, as steps name volumes.
std::string volume_of(const volume_snapshot& taken);

/// Requests to the pools actor. -> operation_record
struct snapshot_volume {
  std::string pool, name; // of the volume
  envelope<schema::VolumeSnapshotsPost> request;
};
struct change_volume_snapshot {
  enum class verb : uint8_t { rename, remove, update };
  verb what = verb::update;
  std::string pool, name; // of the volume
  std::string snapshot, new_name, etag;
  std::shared_ptr<const header> head;
  std::optional<std::string> description = {}; // absent: as it is
  std::optional<int64_t> expires_at = {};
};
outcome<std::shared_ptr<saga>> plan_of(const snapshot& records, const snapshot_volume& request);
outcome<std::shared_ptr<saga>> plan_of(const snapshot& records, const change_volume_snapshot& request);

/// The volume as it was: what it holds, not its config. fault::in_use while an instance that has it runs.
outcome<std::shared_ptr<saga>> plan_volume_restore(const snapshot& records, const volume_place& where,
                                                   const volume_record& record, std::string_view snapshot_name,
                                                   const std::shared_ptr<const header>& head);

/// What becomes of a volume's snapshots when it is copied, when it gets another name, pool or project, and when it
/// goes. forbidden: the project allows none.
outcome<void> copy_snapshots(saga& plan, const snapshot& records, const volume_place& from, const volume_place& to);
void move_snapshots(saga& plan, const snapshot& records, const volume_place& from, const volume_place& to);
void remove_snapshots(saga& plan, const snapshot& records, const volume_place& of);

} // namespace troupe

TROUPE_LOCAL_MESSAGE(troupe::snapshot_volume)
TROUPE_LOCAL_MESSAGE(troupe::change_volume_snapshot)
