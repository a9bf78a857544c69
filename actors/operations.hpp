#pragma once

#include "actors/saga.hpp"

#include <functional>

namespace troupe {

/// Begins a saga. Answered with the accepted record once it is journaled (that is the 202).
struct begin_saga {
  std::shared_ptr<const saga> what;
};

/// Begins work whose end somebody else reports (exec, console): class websocket, no steps, nothing to undo.
struct begin_live {
  std::string kind, description, entity;
  std::shared_ptr<const header> head;
  std::vector<std::pair<std::string, std::vector<std::string>>> resources;
  std::string metadata; // without secrets: they are only in the answer to the one who asked
};
struct finish_live {
  std::string id;
  bool succeeded = false;
  error why = {};
  std::vector<std::pair<std::string, std::string>> metadata; // key -> JSON value
};

/// Text progress under a metadata key that ends in `_progress`.
struct operation_progress {
  std::string id, key, text;
};

/// Answered with the record when the operation has ended (or at once); error not_found.
struct await_operation {
  std::string id;
};
/// Answered with the record of an operation that runs but whose beginning may not be on disk yet; error not_found.
struct find_operation {
  std::string id;
};
/// Answered when the request was taken; error when it cannot be cancelled.
struct cancel_operation {
  std::string id;
  std::shared_ptr<const header> head;
};

using operation_record = message<schema::Operation>;

/// The OPERATIONS actor: spawns one operation actor per running operation, knows which run, answers who waits.
/// At its start it finishes what the journal holds: undo before the commit, complete after it.
caf::behavior operations(caf::event_based_actor* self, services& with);

/// One running saga. It begins at (begin_saga), which it answers once the journal has it.
caf::behavior operation(caf::event_based_actor* self, services& with, operation_record record,
                        std::shared_ptr<const saga> what);
/// Takes up an unfinished operation from the journal.
caf::behavior operation_recovery(caf::event_based_actor* self, services& with, operation_record record, bool committed);
/// One running live operation.
caf::behavior live_operation(caf::event_based_actor* self, services& with, operation_record record);

/// INTERNAL, operation -> operations: this is over; `record` is what was committed.
struct operation_over {
  operation_record record;
};

} // namespace troupe

TROUPE_LOCAL_MESSAGE(troupe::begin_saga)
TROUPE_LOCAL_MESSAGE(troupe::begin_live)
TROUPE_LOCAL_MESSAGE(troupe::finish_live)
TROUPE_LOCAL_MESSAGE(troupe::operation_progress)
TROUPE_LOCAL_MESSAGE(troupe::await_operation)
TROUPE_LOCAL_MESSAGE(troupe::find_operation)
TROUPE_LOCAL_MESSAGE(troupe::cancel_operation)
TROUPE_LOCAL_MESSAGE(troupe::operation_over)
