#pragma once

#include "actors/saga.hpp"

#include <functional>

namespace troupe {

/// Begins a saga. Answered with the accepted record once it is journaled (that is the 202). If its header only plans,
/// nothing is done: the record has state pending and a forecast, and is not stored; the owner is told as of any end.
struct begin_saga {
  std::shared_ptr<const saga> what;
};

/// Begins work whose end somebody else reports (exec, console, a token): no steps, nothing to undo. With an owner it
/// can be cancelled, and the owner is told of its end.
struct begin_live {
  schema::Operation::Class type = schema::Operation::Class::WEBSOCKET;
  caf::actor owner;
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

/// Takes up again live work that goes on although nobody here had it (a command of a daemon before this one); answered
/// with unit. Nothing happens if it runs already.
struct resume_live {
  message<schema::Operation> record;
};

/// Progress of the step that runs; with a `key` (it ends in `_progress`), also as text in the metadata.
struct operation_progress {
  std::string id, key, text;
  std::string unit = {}; // "bytes"
  uint64_t done = 0, total = 0;
};

/// To be asked before a request that has a request_id is judged, so that a repeat never is: it may no longer be
/// possible. Answered with claim_answer; error already_exists: the id was used for another request. While a claim is
/// held, others with the same id wait.
struct claim_request {
  std::shared_ptr<const header> head;
};
struct claim_answer {
  std::optional<message<schema::Operation>> same; // what the id has begun already: answer with that
  std::shared_ptr<void> hold;                     // else: keep it until begin_saga was answered, or will not be sent
};
/// INTERNAL: the last copy of a hold is gone.
struct release_claim {
  std::string key;
  uint64_t number = 0;
};

/// Answered with the record when the operation has ended (or at once); error not_found.
struct await_operation {
  std::string id;
};
/// Answered with the record as it is now, steps and progress included; error not_found.
struct find_operation {
  std::string id;
};
/// Answered when the operation's cancellation is on disk: it will end as its cancelEffect said. Error invalid when it
/// cannot be cancelled, which its mayCancel said.
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
/// Takes up an unfinished operation from the journal: undoes it before the commit, completes it after. An operation
/// actor of before may still have its commit on the way: the journal's row decides which of the two wins.
caf::behavior operation_recovery(caf::event_based_actor* self, services& with, std::string id);
/// One running live operation; `known`: its beginning is on disk already.
caf::behavior live_operation(caf::event_based_actor* self, services& with, operation_record record, caf::actor owner,
                             bool known = false);

/// INTERNAL, operation -> operations: this is over; `record` is what was committed.
struct operation_over {
  operation_record record;
};

} // namespace troupe

TROUPE_LOCAL_MESSAGE(troupe::begin_saga)
TROUPE_LOCAL_MESSAGE(troupe::begin_live)
TROUPE_LOCAL_MESSAGE(troupe::finish_live)
TROUPE_LOCAL_MESSAGE(troupe::resume_live)
TROUPE_LOCAL_MESSAGE(troupe::operation_progress)
TROUPE_LOCAL_MESSAGE(troupe::claim_request)
TROUPE_LOCAL_MESSAGE(troupe::claim_answer)
TROUPE_LOCAL_MESSAGE(troupe::release_claim)
TROUPE_LOCAL_MESSAGE(troupe::await_operation)
TROUPE_LOCAL_MESSAGE(troupe::find_operation)
TROUPE_LOCAL_MESSAGE(troupe::cancel_operation)
TROUPE_LOCAL_MESSAGE(troupe::operation_over)
