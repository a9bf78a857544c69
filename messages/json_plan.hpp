#pragma once

#include <capnp/dynamic.h>
#include <string>
#include <vector>

namespace troupe::json_detail {

/// How one field of a struct looks as JSON, worked out once per struct type.
struct field_plan {
  capnp::StructSchema::Field field;
  std::string name;
  std::string label; // the name as it is written: quoted, with its colon
  bool omit_empty = false, time = false, map = false, raw = false, nullable = false, secret = false;
};

/// The fields of a struct that are not hidden, in schema order. Thread-local cache: no lock.
const std::vector<field_plan>& plan_of(capnp::StructSchema schema);

/// The JSON name of an enumerant.
std::string name_of(capnp::EnumSchema::Enumerant enumerant);

} // namespace troupe::json_detail
