#pragma once

#include "actors/instance.hpp"
#include "messages/backup.capnp.h"

namespace troupe {

using backup_record = message<schema::BackupSpec>;

/// Records of backups lie in this member's own table, as the files behind them do: this is where.
inline constexpr table backups_table = table::meta;
std::string backup_key(std::string_view project, std::string_view instance, std::string_view name);
/// Where the file of a backup lies.
std::string backup_path(const services& with, std::string_view file);

/// The backups of an instance, oldest first.
std::vector<backup_record> backups_of(const snapshot& records, std::string_view project, std::string_view instance);

/// To the instance: rename or delete one of its backups. -> operation_record
struct change_backup {
  enum class verb : uint8_t { rename, remove };
  verb what = verb::remove;
  std::shared_ptr<const header> head;
  std::string name, new_name;
};

outcome<std::shared_ptr<saga>> plan_backup(const instance_data& me, const envelope<schema::BackupsPost>& request);
outcome<std::shared_ptr<saga>> plan_backup_change(const instance_data& me, const change_backup& request);

/// What becomes of the backups when their instance goes, or gets another name.
void forget_backups(saga& plan, const snapshot& records, const instance_data& me);
void move_backups(saga& plan, const snapshot& records, const instance_data& me, const std::string& project,
                  const std::string& to);

/// The compression in force: what is asked for, else what `key` says in the project, else in the server.
outcome<std::string> chosen_compression(const snapshot& records, std::string_view project, std::string_view key,
                                        std::string_view asked);

} // namespace troupe

TROUPE_LOCAL_MESSAGE(troupe::change_backup)
