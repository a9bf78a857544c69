#pragma once

#include "messages/message.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace troupe {

class rights; // rights.hpp
struct entity;

/// What somebody vouches for, before any rule about the thing that is asked for.
enum class trust : uint8_t {
  none,       // nobody knows the caller
  metrics,    // may read measurements only
  granted,    // what the groups it is in give: `given`
  restricted, // what belongs to `projects`
  full,
};

/// Who asks; see principal.capnp for the record form.
struct principal {
  std::string username;              // "root", a certificate's fingerprint, or an e-mail address
  std::string protocol = "internal"; // unix, tls, oidc, cluster, internal
  std::string address;               // "@" for the unix socket, IP:PORT else
  uint32_t uid = ~0u;
  trust level = trust::full;
  std::vector<std::string> projects = {};   // with trust::restricted
  std::shared_ptr<const rights> given = {}; // with trust::granted, and never null then
  std::vector<std::string> groups = {};     // what gave them, by name

  /// All that is in the project.
  bool may_see(std::string_view project) const;
  /// The one question about a single thing, wherever it is asked: a row of entitlements.hpp.
  bool may(std::string_view entitlement, const entity& on) const;
  /// Anything at all that is in the project: for others there is no such project.
  bool knows(std::string_view project) const;
};

/// Travels with every message between actors and is judged by the entity's own actor.
struct header {
  principal who;
  std::string project = "default";
  std::string request_id;     // chosen by who asks: the same one again is the same operation, never a second
  std::string parent;         // operation this is a part of
  std::string request_digest; // of the whole request: another request under the same request_id is refused
  bool plan = false;          // only tell what would be done
};

/// A Cap'n Proto message and its header; the one form in which a request lies in a mailbox. Copies share both.
template <class Schema>
struct envelope {
  message<Schema> body;
  std::shared_ptr<const header> head = std::make_shared<header>();

  envelope() = default;
  envelope(message<Schema> b, std::shared_ptr<const header> h) : body{std::move(b)}, head{std::move(h)} {}
};

} // namespace troupe
