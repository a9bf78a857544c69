#pragma once

#include "actors/records.hpp"
#include "actors/services.hpp"
#include "messages/warning.capnp.h"

#include <string>
#include <string_view>

namespace troupe {

/// What an administrator should look at. There is one record for each type and entity: seen again it counts up, and
/// what was acknowledged stays so; what was resolved is new again.
struct warning_kind {
  std::string_view type; // a few words, shown as they are
  schema::Warning::Severity severity;
};
namespace warnings {
inline constexpr warning_kind part_restarted{"Part of the daemon restarted", schema::Warning::Severity::MODERATE};
inline constexpr warning_kind no_guest_api{"Guest API not available", schema::Warning::Severity::LOW};
inline constexpr warning_kind no_dnsmasq{"Network without DHCP and DNS", schema::Warning::Severity::HIGH};
inline constexpr warning_kind hanging_processes{"Processes of a stopped instance hang in the kernel",
                                                schema::Warning::Severity::HIGH};
inline constexpr warning_kind failing_disk{"Disk of a virtual machine fails", schema::Warning::Severity::HIGH};
inline constexpr warning_kind panicked{"System of a virtual machine crashed", schema::Warning::Severity::MODERATE};
} // namespace warnings

/// Records it; nobody waits. `url`: of the entity. Any thread.
void raise_warning(const services& with, const warning_kind& kind, const std::string& project, const std::string& url,
                   const std::string& message);
/// The same about the same thing is over.
void resolve_warning(const services& with, const warning_kind& kind, const std::string& project,
                     const std::string& url);

/// With its key in the table; nullopt: there is none of that id.
struct stored_warning {
  std::string key;
  message<schema::Warning> record;
};
std::optional<stored_warning> find_warning(const snapshot& records, std::string_view uuid);

} // namespace troupe
