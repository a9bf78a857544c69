#include "messages/json.capnp.h"
#include "messages/json.hpp"
#include "messages/json_plan.hpp"
#include "messages/time.hpp"

#include <charconv>

namespace troupe {
namespace {

using capnp::DynamicList;
using capnp::DynamicStruct;
using capnp::DynamicValue;
using json_detail::field_plan;
using json_detail::plan_of;

void write_value(std::string& out, DynamicValue::Reader value, bool as_map);

template <class Number>
void write_number(std::string& out, Number number) {
  char text[32];
  auto end = std::to_chars(text, text + sizeof text, number).ptr;
  out.append(text, end);
}

std::string_view as_view(capnp::Text::Reader text) { return {text.begin(), text.size()}; }
std::string_view as_text(DynamicValue::Reader value) { return as_view(value.as<capnp::Text>()); }

// A list of two-field structs as an object: the first field is the key, the second the value.
void write_map(std::string& out, DynamicList::Reader list) {
  out += '{';
  auto schema = list.getSchema().getStructElementType();
  if (schema == capnp::Schema::from<schema::KeyValue>()) {
    // Most maps by far, and several times as fast as by reflection.
    for (auto entry : list.as<capnp::List<schema::KeyValue>>()) {
      write_json_name(out, as_view(entry.getKey()));
      write_json_string(out, as_view(entry.getValue()));
    }
    out += '}';
    return;
  }
  auto& plan = plan_of(schema);
  for (auto entry : list) {
    auto pair = entry.as<DynamicStruct>();
    write_json_name(out, as_text(pair.get(plan[0].field)));
    write_value(out, pair.get(plan[1].field), plan[1].map);
  }
  out += '}';
}

void write_list(std::string& out, DynamicList::Reader list) {
  out += '[';
  bool first = true;
  for (auto entry : list) {
    if (!std::exchange(first, false)) out += ',';
    write_value(out, entry, false);
  }
  out += ']';
}

void write_value(std::string& out, DynamicValue::Reader value, bool as_map) {
  switch (value.getType()) {
    case DynamicValue::BOOL:
      out += value.as<bool>() ? "true" : "false";
      break;
    case DynamicValue::INT:
      write_number(out, value.as<int64_t>());
      break;
    case DynamicValue::UINT:
      write_number(out, value.as<uint64_t>());
      break;
    case DynamicValue::FLOAT:
      write_number(out, value.as<double>());
      break;
    case DynamicValue::TEXT:
      write_json_string(out, as_text(value));
      break;
    case DynamicValue::STRUCT:
      write_json(out, value.as<DynamicStruct>());
      break;
    case DynamicValue::LIST:
      as_map ? write_map(out, value.as<DynamicList>()) : write_list(out, value.as<DynamicList>());
      break;
    case DynamicValue::ENUM: {
      auto enumerant = value.as<capnp::DynamicEnum>().getEnumerant();
      KJ_IF_MAYBE (known, enumerant)
        write_json_string(out, json_detail::name_of(*known));
      else
        out += "null";
      break;
    }
    default:
      out += "null";
      break;
  }
}

bool is_empty(DynamicValue::Reader value) {
  switch (value.getType()) {
    case DynamicValue::BOOL:
      return !value.as<bool>();
    case DynamicValue::INT:
      return value.as<int64_t>() == 0;
    case DynamicValue::UINT:
      return value.as<uint64_t>() == 0;
    case DynamicValue::TEXT:
      return value.as<capnp::Text>().size() == 0;
    case DynamicValue::LIST:
      return value.as<DynamicList>().size() == 0;
    default:
      return false;
  }
}

void write_field(std::string& out, DynamicStruct::Reader from, const field_plan& plan) {
  if (plan.secret || (plan.nullable && plan.omit_empty && !from.has(plan.field))) return;
  auto value = from.get(plan.field);
  if (plan.omit_empty && is_empty(value)) return;
  if (!out.empty() && out.back() != '{') out += ',';
  out += plan.label;
  if (plan.time) {
    write_json_string(out, to_rfc3339(value.as<int64_t>()));
  } else if (plan.raw) {
    auto text = as_text(value);
    out += text.empty() ? "null" : text;
  } else if (plan.nullable && !from.has(plan.field)) {
    out += "null";
  } else {
    write_value(out, value, plan.map);
  }
}

} // namespace

void write_json_string(std::string& out, std::string_view value) {
  out += '"';
  size_t plain = 0;
  for (size_t i = 0; i < value.size(); ++i) {
    auto c = static_cast<unsigned char>(value[i]);
    if (c >= 0x20 && c != '"' && c != '\\') continue;
    out.append(value, plain, i - plain);
    plain = i + 1;
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\r':
        out += "\\r";
        break;
      default: {
        static constexpr char digits[] = "0123456789abcdef";
        out += "\\u00";
        out += digits[c >> 4];
        out += digits[c & 15];
      }
    }
  }
  out.append(value, plain);
  out += '"';
}

void write_json_name(std::string& out, std::string_view name) {
  if (!out.empty() && out.back() != '{') out += ',';
  write_json_string(out, name);
  out += ':';
}

void write_json_fields(std::string& out, DynamicStruct::Reader value) {
  for (auto& plan : plan_of(value.getSchema())) write_field(out, value, plan);
}

void write_json(std::string& out, DynamicStruct::Reader value) {
  out += '{';
  write_json_fields(out, value);
  out += '}';
}

} // namespace troupe
