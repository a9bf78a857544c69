#pragma once

#include "actors/backup_index.hpp"
#include "actors/instance.hpp"
#include "backends/cancel_token.hpp"
#include "backends/image/image_store.hpp"

namespace troupe {

/// A backup that the gateway has spooled, and what its index says. To the instances actor. -> operation_record
struct import_backup {
  std::shared_ptr<const header> head;
  std::shared_ptr<const unique_fd> file;
  std::shared_ptr<const backup_index> index;
  std::string name, pool; // instead of those of the backup; empty: as it says
  device_map devices;     // over those of the backup
};

/// A tree of the backup and the volume it goes to, as steps name volumes.
struct import_target {
  std::string tree, volume;
};
/// An import under way, as its step finds it again by its number.
struct started_import {
  import_backup what;
  std::vector<import_target> targets;
};

/// Judged as the creation of that instance; fills `begun`.
outcome<std::shared_ptr<saga>> plan_import(const services& with, const import_backup& request, uint64_t id,
                                           const std::string& number, started_import& begun);

} // namespace troupe

TROUPE_LOCAL_MESSAGE(troupe::import_backup)
