#pragma once

#include "actors/glue.hpp"
#include "actors/project_use.hpp"

#include <map>

namespace troupe {

/// What changes on their way will take of their projects' limits, until they are in the records or have failed. Held by
/// the INSTANCES actor, through which all that grows goes; so the limits hold exactly, however many ask at once.
class project_claims {
public:
  /// Granted if it fits beside the records and the other claims; fault::forbidden else. `name`: the instance, for which
  /// the claim counts instead of its record.
  outcome<void> grant(const snapshot& records, const std::string& project, const std::string& name,
                      const project_use& most);
  void release(const std::string& project, const std::string& name);

private:
  std::map<std::string, std::map<std::string, project_use, std::less<>>> claims_; // project -> instance
};

/// From an instance's actor, before a change that takes more: answered with unit, or the refusal.
struct claim_use {
  std::string instance; // "PROJECT/NAME" that it counts for: what a move arrives at is reserved as well
  std::string by;       // who asks; if that one fails, the claim goes
  project_use most;
};
/// And when that change has ended, one way or the other.
struct release_use {
  std::string instance;
};

} // namespace troupe

TROUPE_LOCAL_MESSAGE(troupe::claim_use)
TROUPE_LOCAL_MESSAGE(troupe::release_use)
