#pragma once

#include "messages/message.hpp"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace troupe {

/// What somebody vouches for, before any rule about the thing that is asked for.
enum class trust : uint8_t {
  none,       // nobody knows the caller
  metrics,    // may read measurements only
  restricted, // what belongs to `projects`
  full,
};

/// Who asks; see principal.capnp for the record form.
struct principal {
  std::string username;              // "root", or a certificate's fingerprint
  std::string protocol = "internal"; // unix, tls, oidc, cluster, internal
  std::string address;               // "@" for the unix socket, IP:PORT else
  uint32_t uid = ~0u;
  trust level = trust::full;
  std::vector<std::string> projects = {}; // with trust::restricted

  bool may_see(std::string_view project) const {
    return level == trust::full ||
           (level == trust::restricted && std::find(projects.begin(), projects.end(), project) != projects.end());
  }
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
