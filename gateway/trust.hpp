#pragma once

#include "actors/identities.hpp"
#include "gateway/http_server.hpp"
#include "messages/envelope.hpp"
#include "persist/store.hpp"

#include <optional>
#include <string>

namespace troupe {

/// In place of the projects of who may measure (trust::metrics) all of them; no project has such a name.
inline constexpr std::string_view every_project = "*";

/// Who is at the other end of a connection, as far as the server knows, at this moment.
struct caller {
  principal who;
  std::string doubt;                 // why what was shown is worth nothing; empty: it is not, or nothing was shown
  std::optional<error> refused = {}; // a token was brought that is not believed (forbidden), or could not be judged
  int64_t until = 0;                 // from then on what was shown is worth nothing; seconds since 1970, 0: never
};

/// Looked up for every request, so that what is removed counts no more. Cheap: one read of a record.
caller caller_of(const http_peer& peer, const snapshot& records);

/// The caller is this identity, and may do what its groups give.
void give_groups(principal& who, const snapshot& records, const identity_record& identity);

} // namespace troupe
