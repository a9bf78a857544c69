#pragma once

#include "messages/error.hpp"
#include "messages/message.hpp"

#include <capnp/dynamic.h>
#include <nlohmann/json.hpp>

namespace troupe {

/// Fills `into` from an object. Keys are matched exactly, then in any case, as Go does. Refused with fault::invalid,
/// naming the path: wrong types, numbers out of range, and unknown keys with a value (null, "", 0, false, [] and {}
/// pass: newer clients send every field they know).
outcome<void> read_json(const nlohmann::json& from, capnp::DynamicStruct::Builder into);

/// Parses text into a document; fault::invalid with the position on bad syntax or bad UTF-8.
outcome<nlohmann::json> parse_json_text(std::string_view text);

template <class Schema>
outcome<message<Schema>> message_from(const nlohmann::json& from) {
  capnp::MallocMessageBuilder builder;
  if (auto read = read_json(from, builder.initRoot<Schema>()); !read) return tl::unexpected{read.error()};
  return message<Schema>::of(builder);
}

} // namespace troupe
