#pragma once

#include "messages/config_map.hpp"
#include "messages/envelope.hpp"
#include "messages/image.capnp.h"
#include "messages/instance.capnp.h"
#include "messages/network.capnp.h"
#include "messages/operation.capnp.h"
#include "messages/profile.capnp.h"
#include "messages/storage.capnp.h"
#include "persist/store.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace troupe {

// Where records lie: key forms and typed loading. Reading needs no actor; writing is each noun's own actor's business.

inline std::string in_project(std::string_view project, std::string_view name) {
  return std::string{project} + '/' + std::string{name};
}

template <class Schema>
std::optional<message<Schema>> load(const snapshot& from, table where, std::string_view key) {
  auto bytes = from.get(where, key);
  if (!bytes) return std::nullopt;
  return message<Schema>::from_bytes(*bytes);
}

template <class Schema>
write put(table where, std::string key, const message<Schema>& record) {
  return {where, std::move(key), std::string{record.bytes()}};
}
inline write erase(table where, std::string key) { return {where, std::move(key), std::nullopt}; }

/// "The record is still what I read": the guard of every read-modify-write.
inline condition unchanged(const snapshot& from, table where, const std::string& key) {
  auto bytes = from.get(where, key);
  return {where, key, bytes ? std::optional{std::string{*bytes}} : std::nullopt};
}
inline condition absent(table where, std::string key) { return {where, std::move(key), std::nullopt}; }

/// The projects that have this image; its files and unpacked volumes are shared by all of them.
std::vector<std::string> projects_with_image(const snapshot& from, std::string_view fingerprint);

/// Config and devices of an instance with its profiles applied, in order, the instance's own last.
struct expansion {
  config_map config;
  device_map devices;
};
expansion expand(const snapshot& from, schema::InstanceSpec::Reader spec);
expansion expand(const snapshot& from, std::string_view project, const std::vector<std::string>& profiles,
                 const config_map& config, const device_map& devices);

/// Whether the device is a root disk: "type" disk, "path" "/".
bool is_root(const config_map& device);
/// The root disk, or nullptr.
const config_map* root_disk(const device_map& devices);

/// The name an instance has for the driver and on disk: NAME in project default, PROJECT_NAME else.
std::string instance_key(std::string_view project, std::string_view name);
/// Whose key that is: PROJECT/NAME; empty: nobody's.
std::string id_of_key(const snapshot& from, std::string_view key);
/// "container" or "virtual-machine", as clients write it.
std::string_view word_of(schema::InstanceType type);
/// A container where there is no such instance.
schema::InstanceType type_of(const snapshot& from, std::string_view project, std::string_view name);
/// How steps name its volume: KEY, or virtual-machines/KEY.
std::string volume_word(schema::InstanceType type, std::string_view key);
/// `resources` of an operation about it.
std::vector<std::pair<std::string, std::vector<std::string>>>
resources_of(schema::InstanceType type, std::string_view project, std::string_view name);
/// The name it has in a bridge's DNS, so that nobody takes a name of another project's: NAME in project default,
/// NAME--PROJECT else (no project's name has "--"); empty if that is no host name.
std::string dns_name(std::string_view project, std::string_view name);

/// A thing's URL as `used_by` shows it: with its project unless that is default.
std::string url_of_in(std::string_view collection, std::string_view project, std::string_view name);

/// What `used_by` shows.
std::vector<std::string> users_of_profile(const snapshot& from, std::string_view project, std::string_view name);
std::vector<std::string> users_of_network(const snapshot& from, std::string_view name);
std::vector<std::string> users_of_pool(const snapshot& from, std::string_view name);

/// Copies a struct so that a few fields can be changed: `change` receives the builder.
template <class Schema, class Change>
message<Schema> changed(const message<Schema>& from, Change&& change) {
  capnp::MallocMessageBuilder builder;
  from.read([&](auto reader) { builder.setRoot(reader); });
  change(builder.getRoot<Schema>());
  // A replaced list leaves its old words behind; a second copy takes only what is reachable.
  capnp::MallocMessageBuilder compact;
  compact.setRoot(builder.getRoot<Schema>().asReader());
  return message<Schema>::of(compact);
}

int64_t now_ns();

/// Opaque hash of an entity's visible state; what GET shows as ETag and If-Match is compared with.
std::string etag_of(std::string_view representation);

} // namespace troupe
