#pragma once

#include "actors/operation_record.hpp"

namespace troupe {

/// What an operation shows beyond LXD's fields: its steps, what a cancel would do, its children, what it left behind.
message<schema::OperationDetails> details_of(const operation_record& record, const snapshot& records);

/// LXD's Operation object with the details' fields behind its own; stock clients ignore those.
std::string detailed_operation_json(const operation_record& record, const snapshot& records);

/// The answer to a dry run, from the record that begin_saga answered, or from the refusal of the request.
message<schema::OperationPlan> plan_of(const operation_record& forecast);
message<schema::OperationPlan> plan_of(const error& refusal);

/// Ids of an entity's operations that are still kept, oldest first.
std::vector<std::string> operations_of(const snapshot& records, std::string_view entity);

} // namespace troupe
