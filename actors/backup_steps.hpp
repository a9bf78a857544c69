#pragma once

#include "actors/instance_import.hpp"

namespace troupe {

// What the steps "backup.*" do, on a blocking thread, for the instances actor. The volumes they touch belong to their
// saga alone: copies to be packed, and new ones to be filled.

/// Packs a copy of the instance, with its snapshots as they are now, into the backup's file; adds its record.
outcome<step_result_ptr> pack_backup(const services& with, const saga_step& step, const progress_sink& progress,
                                     const cancel_token& stop);
/// Fills the volumes of an import, and checks that what lies beside them says what was judged.
outcome<step_result_ptr> unpack_import(const services& with, const saga_step& step, const started_import& from,
                                       const progress_sink& progress, const cancel_token& stop);
/// The file of a backup goes, if it is there.
outcome<void> forget_backup(const services& with, const saga_step& step);

} // namespace troupe
