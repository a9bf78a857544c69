#pragma once

#include "actors/operations.hpp"

namespace troupe {

// How operation records are made, changed and found again; pure functions.

operation_record make_record(const saga& what, const std::string& id, const std::string& location);
operation_record make_record(const begin_live& what, const std::string& id, const std::string& location);
/// The answer to a dry run: state pending, with what `records` say of the commit's conditions.
operation_record make_forecast(const saga& what, const std::string& id, const std::string& location,
                               const snapshot& records);

/// The record in another state; `why` for the failed ones. Whatever is not running cannot be cancelled.
operation_record in_state(const operation_record& from, schema::Operation::State state, const error* why = nullptr);
/// The record with what a cancel would do now; `cancelling`: one is being carried out.
operation_record with_cancel(const operation_record& from, schema::CancelEffect effect, bool cancelling = false);
operation_record with_step(const operation_record& from, size_t step, schema::Step::State state,
                           const std::string& problem = {});
/// The progress of a running step, its rate worked out.
operation_record with_progress(const operation_record& from, size_t step, const operation_progress& progress);
/// The metadata object with these keys set (values are JSON).
operation_record with_metadata(const operation_record& from,
                               const std::vector<std::pair<std::string, std::string>>& keys);

std::string id_of(const operation_record& record);
schema::Operation::State state_of(const operation_record& record);
bool is_over(schema::Operation::State state);
std::vector<saga_step> steps_of(const operation_record& record, bool after_commit);

/// What stands in the journal while an operation is not over; no row: it is.
constexpr std::string_view journal_running = "running", journal_undoing = "undoing", journal_committed = "committed";

/// Writes of the operations table and the journal; `journal` empty: the operation is over.
void add_writes(batch& into, const operation_record& record, std::string_view journal);

/// The indexes: operations of an entity, in order of their beginning; children of an operation; request ids.
/// `digest` is the header's, kept so that another request under the same id is noticed.
void add_index(batch& into, const operation_record& record, const std::string& digest);
/// Everything of an operation that retention has passed.
void add_removal(batch& into, const operation_record& record);
/// Prefix of the entity index; an id follows.
std::string entity_prefix(std::string_view entity);
/// The entity under which the children of an operation are found.
std::string children_of(std::string_view operation);
std::string request_key(const header& head);
struct request_row {
  std::string digest, operation;
};
request_row read_request_row(std::string_view value);

/// The smallest id of that moment: ids are UUIDv7, whose first 48 bits are milliseconds.
std::string first_id_of(int64_t ns);

} // namespace troupe
