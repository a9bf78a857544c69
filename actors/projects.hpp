#pragma once

#include "actors/operations.hpp"
#include "actors/records.hpp"
#include "actors/saga.hpp"

namespace troupe {

struct change_project { // -> operation_record
  enum class verb : uint8_t { create, update, patch, rename, remove };
  verb what = verb::create;
  std::shared_ptr<const header> head;
  std::string name, new_name, etag;
  message<schema::ProjectPut> body;
};

/// What `used_by` shows: the instances, images, profiles and networks of its own. Its default profile counts as one.
std::vector<std::string> users_of_project(const snapshot& from, std::string_view project);

/// The PROJECTS actor: the records of projects. A change of features needs an empty project; a change of limits and
/// restrictions is refused if what is in the project does not keep to it.
caf::behavior projects(caf::event_based_actor* self, services& with);

} // namespace troupe

TROUPE_LOCAL_MESSAGE(troupe::change_project)
