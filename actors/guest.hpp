#pragma once

#include "actors/glue.hpp"

#include <cstdint>
#include <string>

namespace troupe {

// The guest API (/dev/lxd/sock inside instances). Each instance has a socket of its own, in a folder of its own that is
// shown inside: who connects there is that instance, whatever it calls itself.

/// To role::doors, before an instance runs: listen for it. Answered with the folder (std::string) once that is done;
/// what listened for it before is ended.
struct open_guest {
  std::string project, name;
  uint64_t id = 0; // InstanceSpec::id
};
/// To the same when it is down: nobody listens there any more, the folder goes. Answered with unit.
struct close_guest {
  uint64_t id = 0;
};

/// From the door to the instance: what it says of itself. Answered with unit once that is recorded.
struct guest_ready {
  bool ready = true;
};

} // namespace troupe

TROUPE_LOCAL_MESSAGE(troupe::open_guest)
TROUPE_LOCAL_MESSAGE(troupe::close_guest)
TROUPE_LOCAL_MESSAGE(troupe::guest_ready)
