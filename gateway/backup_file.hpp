#pragma once

#include "actors/instance_backup.hpp"
#include "actors/instance_import.hpp"

namespace troupe {

/// The file of a backup, as it is downloaded. Blocks for a moment.
outcome<unique_fd> open_backup(const services& with, const backup_record& backup);

/// What a spooled file says of itself, ready to be imported. Blocks: reads the file up to its index.
outcome<import_backup> read_import(unique_fd file, std::shared_ptr<const header> head);

} // namespace troupe
