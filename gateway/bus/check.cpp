#include "gateway/bus/check.hpp"

#include "gateway/bus/error.hpp"
#include "messages/json_plan.hpp"

#include <kj/encoding.h>

namespace troupe::on_bus {
namespace {

void check_value(capnp::DynamicValue::Reader value);

void check_text(capnp::Text::Reader text) {
  auto bytes = text.asArray();
  for (char c : bytes)
    if (c == '\0') refuse(fault::invalid, "A text holds a NUL character");
  if (kj::encodeUtf32(bytes).hadErrors) refuse(fault::invalid, "A text is not valid UTF-8");
}

void check_struct(capnp::DynamicStruct::Reader from) {
  for (auto field : from.getSchema().getFields())
    if (from.has(field)) check_value(from.get(field));
}

void check_value(capnp::DynamicValue::Reader value) {
  switch (value.getType()) {
    case capnp::DynamicValue::TEXT:
      return check_text(value.as<capnp::Text>());
    case capnp::DynamicValue::LIST: {
      auto list = value.as<capnp::DynamicList>();
      auto element = list.getSchema().getElementType();
      if (element.isText() || element.isStruct() || element.isList())
        for (auto item : list) check_value(item);
      return;
    }
    case capnp::DynamicValue::STRUCT:
      return check_struct(value.as<capnp::DynamicStruct>());
    default:
      return;
  }
}

} // namespace

void check_texts(capnp::DynamicStruct::Reader params) { check_struct(params); }

void copy_shown(capnp::DynamicStruct::Reader from, capnp::DynamicStruct::Builder into) {
  for (auto& row : json_detail::plan_of(from.getSchema()))
    if (!row.secret && from.has(row.field)) into.set(row.field, from.get(row.field));
}

} // namespace troupe::on_bus
