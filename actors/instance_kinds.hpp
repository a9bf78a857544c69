#pragma once

#include "actors/records.hpp"
#include "messages/error.hpp"

namespace troupe {

/// Containers and virtual machines share most keys and devices; what only one kind has is listed in instance_kinds.cpp.
/// invalid: `effective` has something that its kind does not know; unsupported: it is not built yet.
outcome<void> check_kind(schema::InstanceType type, const expansion& effective);

/// Which kind has the key, for docs: "containers", "virtual machines"; empty: both.
std::string_view kind_with(std::string_view key);

/// Of the root disk: what is set. Empty: as large as the pool, or as the image is.
std::string size_of_root(const expansion& effective);
/// What a new virtual machine's root disk has at least where nothing is set, as LXD's.
inline constexpr std::string_view machine_disk = "10GiB";

} // namespace troupe
