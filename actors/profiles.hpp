#pragma once

#include "actors/operations.hpp"
#include "actors/records.hpp"
#include "actors/saga.hpp"

namespace troupe {

struct change_profile { // -> operation_record
  enum class verb : uint8_t { create, update, patch, rename, remove };
  verb what = verb::create;
  std::shared_ptr<const header> head;
  std::string name, new_name, etag;
  message<schema::ProfilePut> body;
};

/// The PROFILES actor: the records of profiles. A running instance sees a change at its next start.
caf::behavior profiles(caf::event_based_actor* self, services& with);

struct change_server_config { // -> operation_record
  std::shared_ptr<const header> head;
  config_map config;
  bool patch = false;
  std::string etag;
};

/// The server's config as GET /1.0 shows it.
config_map server_config(const snapshot& records);

/// The SERVER actor: the daemon's own configuration.
caf::behavior server(caf::event_based_actor* self, services& with);

} // namespace troupe

TROUPE_LOCAL_MESSAGE(troupe::change_profile)
TROUPE_LOCAL_MESSAGE(troupe::change_server_config)
