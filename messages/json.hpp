#pragma once

#include "messages/error.hpp"
#include "messages/message.hpp"

#include <capnp/dynamic.h>
#include <string>
#include <string_view>

namespace troupe {

// JSON by reflection over the schema; the rules are the annotations of json.capnp.
//
// Writing goes straight into a string: a list of 1,000 instances is some 60,000 values, and building a document of
// them first costs ten times as much. Reading (json_read.hpp) goes through nlohmann/json.

/// Appends `{...}`.
void write_json(std::string& out, capnp::DynamicStruct::Reader value);
/// Appends the fields without the braces, so that an object can be composed of several structs; a comma is put before
/// the first field unless `out` ends in '{'.
void write_json_fields(std::string& out, capnp::DynamicStruct::Reader value);
/// Appends a quoted, escaped string.
void write_json_string(std::string& out, std::string_view value);
/// Appends `"name":` with a comma in front where one is needed.
void write_json_name(std::string& out, std::string_view name);

template <class Schema>
std::string to_json(const message<Schema>& from) {
  std::string out;
  from.read([&](auto reader) { write_json(out, reader); });
  return out;
}

} // namespace troupe
