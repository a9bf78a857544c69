#pragma once

#include "messages/error.hpp"
#include "messages/message.hpp"

#include <capnp/dynamic.h>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace troupe {

// JSON by reflection over the schema; the rules are the annotations of json.capnp.
//
// Writing goes straight into a string: a list of 1,000 instances is some 60,000 values, and building a document of
// them first costs ten times as much. Reading goes through nlohmann/json.

/// Appends `{...}`.
void write_json(std::string& out, capnp::DynamicStruct::Reader value);
/// Appends the fields without the braces, so that an object can be composed of several structs; a comma is put before
/// the first field unless `out` ends in '{'.
void write_json_fields(std::string& out, capnp::DynamicStruct::Reader value);
/// Appends a quoted, escaped string.
void write_json_string(std::string& out, std::string_view value);
/// Appends `"name":` with a comma in front where one is needed.
void write_json_name(std::string& out, std::string_view name);

/// Fills `into` from an object. Keys are matched exactly, then in any case, as Go does. Refused with fault::invalid, naming the
/// path: wrong types, numbers out of range, and unknown keys with a value (null, "", 0, false, [] and {} pass: newer
/// clients send every field they know).
outcome<void> read_json(const nlohmann::json& from, capnp::DynamicStruct::Builder into);

/// Parses text into a document; fault::invalid with the position on bad syntax or bad UTF-8.
outcome<nlohmann::json> parse_json_text(std::string_view text);

template <class Schema>
outcome<message<Schema>> message_from(const nlohmann::json& from) {
  capnp::MallocMessageBuilder builder;
  if (auto read = read_json(from, builder.initRoot<Schema>()); !read) return tl::unexpected{read.error()};
  return message<Schema>::of(builder);
}

template <class Schema>
std::string to_json(const message<Schema>& from) {
  std::string out;
  from.read([&](auto reader) { write_json(out, reader); });
  return out;
}

} // namespace troupe
