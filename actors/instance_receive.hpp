#pragma once

#include "actors/instance_snapshot.hpp"

namespace troupe {

// An instance that another server sends: what is decided by records. The transfer itself is the gateway's
// (gateway/migration/), which performs the steps that are made here.

/// What a sender says of a snapshot. Foreign: nothing of it has been checked.
struct offered_snapshot {
  std::string name;
  config_map config;
  device_map devices;
  std::vector<std::string> profiles;
  bool ephemeral = false, stateful = false;
  int architecture = 0;                                     // as LXD numbers them
  int64_t created_at = 0, last_used_at = 0, expires_at = 0; // ns, whole seconds
};

/// fault::invalid, unsupported. Whether it can be reached is found out by going there.
outcome<void> check_migration(schema::InstanceSource::Reader source);

/// Receives the volume, and its snapshots unless they stay behind. `base`: a volume of the pool that it is a later
/// state of; empty: there is none.
saga_step receive_step(const to_instance& whom, const std::string& pool, const std::string& volume,
                       const std::string& size, bool with_snapshots, const std::string& base = {});
/// Behind the commit: volumes of snapshots that were replaced go, and the sender is told of the success.
saga_step settle_step(const to_instance& whom, const std::string& pool,
                      const std::vector<snapshot_record>& there_before = {});

/// The volume of the `number`th snapshot that a step receives, as steps name volumes; what is in `prefix` is of this
/// step, so that undoing it finds them all.
std::string received_volume(const saga_step& step, size_t number);
std::string received_prefix(const saga_step& step);

/// The offer as records: each is judged as a creation with that config would be. Those that are there already (same
/// name, same second) are left out.
outcome<std::vector<snapshot_record>> judge_offer(const snapshot& records, const saga_step& step,
                                                  const std::vector<offered_snapshot>& offers);
/// What the step adds to the commit: these come, and (of a refreshed instance) those that the sender has no more go.
batch received_snapshots(const snapshot& records, const header& head, const saga_step& step,
                         const std::vector<snapshot_record>& taken, const std::vector<offered_snapshot>& offers);

/// An instance that is there gets what another server sends; its config stays.
outcome<std::shared_ptr<saga>> plan_receive_again(const instance_data& me,
                                                  const envelope<schema::CreateInstance>& request);

} // namespace troupe
