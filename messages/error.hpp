#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <tl/expected.hpp>

namespace troupe {

/// Stable error codes. Append only: they are stored in operation records and shown on the bus.
/// A code exists only where some caller reacts differently. `to_http` in error.cpp maps them.
enum class fault : uint16_t {
  invalid = 1,    // the request is malformed or a value is out of its domain
  not_found,      // no such thing
  already_exists, // the name is taken
  wrong_state,    // the thing is not in a state that allows this
  busy,           // somebody else is changing it; try again
  in_use,         // others refer to it
  forbidden,      // the principal may not
  unsupported,    // known, but not built or not possible on this host
  precondition,   // If-Match does not match
  too_large,      // a limit of size or count is passed
  cancelled,      // the operation was cancelled
  timed_out,      // a deadline passed
  backend_failed, // the kernel, liblxc, a tool or a disk said no
  corrupt,        // stored data does not parse
  newer_format,   // the database was written by a newer daemon
  internal,       // our own mistake
};

/// The one error of every layer. `message` is one sentence for a person: capital first letter, no full stop.
struct error {
  fault code = fault::internal;
  std::string message;
  std::string entity = {};

  bool operator==(const error&) const = default;
};

template <class T>
using outcome = tl::expected<T, error>;

inline tl::unexpected<error> fail(fault code, std::string message, std::string entity = {}) {
  return tl::unexpected<error>{error{code, std::move(message), std::move(entity)}};
}

/// `fail` with the text of errno (given, because formatting may change it): "Cannot open /x: No such file".
tl::unexpected<error> fail_errno(int number, std::string what);

/// The status code REST answers with; one table, see error.cpp.
int to_http(fault code) noexcept;

/// The code's stable name on the bus and in logs, e.g. "not_found".
std::string_view to_string(fault code) noexcept;

} // namespace troupe
