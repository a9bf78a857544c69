#pragma once

#include "messages/entitlements.hpp"
#include "messages/envelope.hpp"
#include "messages/error.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace troupe {

/// A thing as permissions name it.
struct entity {
  std::string type;         // a row of entity_types()
  std::string project = {}; // of a project itself, too; empty: it is the server's
  std::string name = {};    // without a project's and the server's; of several parts: "POOL/TYPE/VOLUME"

  auto operator<=>(const entity&) const = default;
};
inline entity the_server() { return {"server"}; }
inline entity the_project(std::string_view name) { return {"project", std::string{name}}; }

/// The thing of such a URL, percent-encoded, with ?project= where that is not project default; fault::invalid. An empty
/// type: whatever type has such URLs.
outcome<entity> entity_of(std::string_view type, std::string_view url);
/// Its canonical URL: with ?project= also for project default.
std::string url_of(const entity& thing);

struct permission {
  entity on;
  std::string entitlement;

  auto operator<=>(const permission&) const = default;
};

/// What somebody's groups give him. Immutable; any thread.
class rights {
public:
  explicit rights(std::vector<permission> given);

  /// By the table of entitlements: held on the thing itself, or by what includes it.
  bool allow(std::string_view entitlement, const entity& on) const;
  /// Anything in the project, or the sight of the project itself.
  bool reach(std::string_view project) const;
  /// All of the other's permissions.
  bool cover(const rights& other) const;
  const std::vector<permission>& all() const { return given_; } // sorted

  bool operator==(const rights&) const = default;

private:
  bool holds(std::string_view entitlement, const entity& on) const;
  bool includes(std::string_view entitlement, const entity& on) const;

  std::vector<permission> given_;
};

} // namespace troupe
