#pragma once

#include "actors/operations.hpp"

namespace troupe {

// How operation records are made and changed; pure functions.

operation_record make_record(const saga& what, const std::string& id, const std::string& location);
operation_record make_record(const begin_live& what, const std::string& id, const std::string& location);

/// The record in another state; `why` for the failed ones.
operation_record in_state(const operation_record& from, schema::Operation::State state, const error* why = nullptr);
operation_record with_step(const operation_record& from, size_t step, schema::Step::State state);
/// The metadata object with these keys set (values are JSON).
operation_record with_metadata(const operation_record& from,
                               const std::vector<std::pair<std::string, std::string>>& keys);

std::string id_of(const operation_record& record);
std::vector<saga_step> steps_of(const operation_record& record, bool after_commit);

/// Writes of the operations table and the journal; `journal` empty: the operation is over.
void add_writes(batch& into, const operation_record& record, std::string_view journal);

} // namespace troupe
