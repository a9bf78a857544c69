#include "messages/json_read.hpp"

#include "messages/json_plan.hpp"
#include "messages/time.hpp"

#include <strings.h>

namespace troupe {
namespace {

using capnp::DynamicList;
using capnp::DynamicStruct;
using json_detail::field_plan;
using json_detail::plan_of;
using nlohmann::json;

constexpr size_t list_max = 65536;

tl::unexpected<error> wrong(const std::string& path, std::string_view wanted) {
  return fail(fault::invalid, "Field \"" + path + "\" must be " + std::string{wanted});
}

const field_plan* find(const std::vector<field_plan>& plan, const std::string& name) {
  for (auto& row : plan)
    if (row.name == name) return &row;
  for (auto& row : plan)
    if (strcasecmp(row.name.c_str(), name.c_str()) == 0) return &row;
  return nullptr;
}

bool is_zero(const json& value) {
  return value.is_null() || value == false || (value.is_number() && value == 0) ||
         ((value.is_string() || value.is_structured()) && (value.empty() || value == ""));
}

outcome<void> read_struct(const json& from, DynamicStruct::Builder into, const std::string& path);

/// Sets one value through `set`, which knows whether it is a field or a list element.
template <class Set>
outcome<void> read_scalar(const json& from, capnp::Type type, const std::string& path, Set&& set) {
  using which = capnp::schema::Type;
  switch (type.which()) {
    case which::BOOL:
      if (!from.is_boolean()) return wrong(path, "true or false");
      set(from.get<bool>());
      return {};
    case which::TEXT: {
      if (!from.is_string()) return wrong(path, "a string");
      auto& text = from.get_ref<const std::string&>();
      if (text.find('\0') != std::string::npos) return wrong(path, "free of NUL characters");
      set(capnp::Text::Reader{text});
      return {};
    }
    case which::INT8:
    case which::INT16:
    case which::INT32:
    case which::INT64:
      if (!from.is_number_integer()) return wrong(path, "a whole number");
      if (from.is_number_unsigned() && from.get<uint64_t>() > uint64_t{INT64_MAX})
        return wrong(path, "a number of 64 bits");
      if (type.isInt32() && (from.get<int64_t>() > INT32_MAX || from.get<int64_t>() < INT32_MIN))
        return wrong(path, "a number of 32 bits");
      set(from.get<int64_t>());
      return {};
    case which::UINT8:
    case which::UINT16:
    case which::UINT32:
    case which::UINT64:
      if (!from.is_number_unsigned()) return wrong(path, "a whole number that is not negative");
      if (type.isUInt32() && from.get<uint64_t>() > UINT32_MAX) return wrong(path, "a number of 32 bits");
      set(from.get<uint64_t>());
      return {};
    case which::FLOAT32:
    case which::FLOAT64:
      if (!from.is_number()) return wrong(path, "a number");
      set(from.get<double>());
      return {};
    case which::ENUM:
      if (!from.is_string()) return wrong(path, "a string");
      for (auto enumerant : type.asEnum().getEnumerants())
        if (json_detail::name_of(enumerant) == from.get_ref<const std::string&>()) {
          set(capnp::DynamicEnum{enumerant});
          return {};
        }
      return wrong(path, "one of the known values, not \"" + from.get<std::string>() + "\"");
    default:
      return wrong(path, "of another type");
  }
}

outcome<void> read_map(const json& from, DynamicList::Builder list, const std::string& path);

outcome<void> read_field(const json& from, DynamicStruct::Builder into, const field_plan& plan,
                         const std::string& path) {
  if (from.is_null()) return {};
  if (plan.time) {
    if (!from.is_string()) return wrong(path, "a time");
    auto when = from_rfc3339(from.get_ref<const std::string&>());
    if (!when) return wrong(path, "a time like 2026-01-31T12:00:00Z");
    into.set(plan.field, *when);
    return {};
  }
  if (plan.raw) {
    into.set(plan.field, capnp::Text::Reader{from.dump()});
    return {};
  }
  auto type = plan.field.getType();
  if (type.isStruct()) return read_struct(from, into.init(plan.field).as<DynamicStruct>(), path);
  if (type.isList()) {
    if (plan.map ? !from.is_object() : !from.is_array()) return wrong(path, plan.map ? "an object" : "a list");
    if (from.size() > list_max) return wrong(path, "shorter");
    // An enum sent as "" means its default, as Go's zero values do.
    auto list = into.init(plan.field, static_cast<unsigned>(from.size())).as<DynamicList>();
    if (plan.map) return read_map(from, list, path);
    auto element = type.asList().getElementType();
    for (unsigned i = 0; i < from.size(); ++i) {
      auto at = path + "[" + std::to_string(i) + "]";
      auto read = element.isStruct() ? read_struct(from[i], list[i].as<DynamicStruct>(), at)
                                     : read_scalar(from[i], element, at, [&](auto&& value) { list.set(i, value); });
      if (!read) return read;
    }
    return {};
  }
  if (type.isEnum() && from.is_string() && from.get_ref<const std::string&>().empty()) return {};
  return read_scalar(from, type, path, [&](auto&& value) { into.set(plan.field, value); });
}

outcome<void> read_map(const json& from, DynamicList::Builder list, const std::string& path) {
  unsigned i = 0;
  for (auto& [key, value] : from.items()) {
    auto entry = list[i++].as<DynamicStruct>();
    auto& plan = plan_of(entry.getSchema());
    if (key.find('\0') != std::string::npos) return wrong(path, "free of NUL characters");
    entry.set(plan[0].field, capnp::Text::Reader{key});
    if (auto read = read_field(value, entry, plan[1], path + "." + key); !read) return read;
  }
  return {};
}

outcome<void> read_struct(const json& from, DynamicStruct::Builder into, const std::string& path) {
  if (!from.is_object())
    return path.empty() ? fail(fault::invalid, "The request body must be a JSON object") : wrong(path, "an object");
  auto& plan = plan_of(into.getSchema());
  for (auto& [key, value] : from.items()) {
    auto at = path.empty() ? key : path + "." + key;
    if (auto row = find(plan, key)) {
      if (auto read = read_field(value, into, *row, at); !read) return read;
    } else if (!is_zero(value)) {
      return fail(fault::invalid, "Unknown field \"" + at + "\"");
    }
  }
  return {};
}

} // namespace

outcome<void> read_json(const json& from, DynamicStruct::Builder into) { return read_struct(from, into, ""); }

outcome<json> parse_json_text(std::string_view text) {
  try {
    return json::parse(text);
  } catch (const json::parse_error& bad) {
    return fail(fault::invalid, "The request body is not valid JSON (byte " + std::to_string(bad.byte) + ")");
  }
}

} // namespace troupe
