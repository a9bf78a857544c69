#pragma once

#include "actors/records.hpp"
#include "messages/error.hpp"

namespace troupe {

// What a backup says of its instance, in LXD 5's words: backup/index.yaml, which is judged, and
// backup/container/backup.yaml, which must say the same.

struct backup_description {
  message<schema::InstanceSpec> instance;
  std::vector<message<schema::SnapshotSpec>> snapshots; // oldest first
};

struct backup_index {
  std::string name, pool, backend;
  bool optimized = false;
  backup_description what;
};

/// fault::invalid with what is wrong; fault::unsupported for what is no container's. What only shows the state of the
/// server that wrote it is left out, volatile.* keys among it (but the cards' addresses).
outcome<backup_index> parse_backup_index(std::string_view yaml);
outcome<backup_description> parse_backup_description(std::string_view yaml);

/// optimized_header.yaml: fault::unsupported where subvolumes lie inside of others. Empty: there is none, and so no
/// such.
outcome<void> check_streams(std::string_view yaml);

/// fault::invalid where the two would lead to different instances.
outcome<void> check_same(const backup_description& index, const backup_description& beside);

/// Both files, as they are written for an instance.
struct backup_texts {
  std::string index, description;
};
backup_texts describe_backup(const snapshot& records, schema::InstanceSpec::Reader instance,
                             const std::vector<message<schema::SnapshotSpec>>& snapshots, bool optimized);

} // namespace troupe
