#include "persist/tables.hpp"

#include <algorithm>
#include <iterator>

namespace troupe {
namespace {

constexpr table_row rows[] = {
    {table::instances, "instances", scope::cluster, true},
    {table::profiles, "profiles", scope::cluster, true},
    {table::images, "images", scope::cluster, true},
    {table::aliases, "aliases", scope::cluster, true},
    {table::pools, "pools", scope::cluster, true},
    {table::volumes, "volumes", scope::cluster, true},
    {table::custom_volumes, "custom_volumes", scope::cluster, true},
    {table::networks, "networks", scope::cluster, true},
    {table::projects, "projects", scope::cluster, true},
    {table::config, "config", scope::cluster, true},
    {table::counters, "counters", scope::cluster, true},
    {table::sinks, "sinks", scope::cluster, true},
    {table::certificates, "certificates", scope::cluster, true},
    {table::snapshots, "snapshots", scope::cluster, true},
    {table::identities, "identities", scope::cluster, true},
    {table::auth_groups, "auth_groups", scope::cluster, true},
    {table::identity_provider_groups, "identity_provider_groups", scope::cluster, true},
    {table::statuses, "statuses", scope::local, true},
    {table::operations, "operations", scope::local, true},
    {table::operation_entities, "operation_entities", scope::local, true},
    {table::operation_requests, "operation_requests", scope::local, true},
    {table::journal, "journal", scope::local, true},
    {table::history, "history", scope::local, false},
    {table::events, "events", scope::local, false},
    {table::members, "members", scope::local, true},
    {table::sink_statuses, "sink_statuses", scope::local, true},
    {table::dead_letters, "dead_letters", scope::local, true},
    {table::subscriptions, "subscriptions", scope::local, true},
    {table::warnings, "warnings", scope::local, true},
    {table::meta, "meta", scope::local, true},
};

constexpr bool in_enum_order() {
  for (size_t i = 0; i < std::size(rows); ++i)
    if (static_cast<size_t>(rows[i].id) != i) return false;
  return std::size(rows) == static_cast<size_t>(table::meta) + 1;
}
static_assert(in_enum_order());

} // namespace

std::span<const table_row> all_tables() { return rows; }

const table_row& row_of(table id) { return rows[static_cast<size_t>(id)]; }

std::optional<table> table_named(std::string_view name) {
  auto at = std::find_if(std::begin(rows), std::end(rows), [&](const table_row& r) { return r.name == name; });
  if (at == std::end(rows)) return std::nullopt;
  return at->id;
}

} // namespace troupe
