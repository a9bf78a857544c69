#include "messages/json_plan.hpp"

#include <cctype>
#include <unordered_map>

namespace troupe::json_detail {
namespace {

// The ids given to the annotations in json.capnp.
constexpr uint64_t name_id = 0xb34808ee25572c5f, omit_id = 0x81b8448197bad408, hidden_id = 0xbccdd26e4ef41a00,
                   secret_id = 0x87c3de921ee38d08, time_id = 0xb07f18fa38c6337c, map_id = 0xd2512d75e917eeaa,
                   raw_id = 0xf7e2b823fa8fd371, nullable_id = 0xdcb4a01d38dc3dda;

std::string snake_case(std::string_view camel) {
  std::string out;
  for (char c : camel) {
    if (std::isupper(static_cast<unsigned char>(c))) {
      out += '_';
      out += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    } else {
      out += c;
    }
  }
  return out;
}

std::vector<field_plan> make_plan(capnp::StructSchema schema) {
  std::vector<field_plan> plan;
  for (auto field : schema.getFields()) {
    auto proto = field.getProto();
    field_plan row;
    row.field = field;
    row.name = snake_case({proto.getName().begin(), proto.getName().size()});
    bool hidden = false;
    for (auto note : proto.getAnnotations()) {
      switch (note.getId()) {
        case name_id:
          row.name = note.getValue().getText();
          break;
        case omit_id:
          row.omit_empty = true;
          break;
        case hidden_id:
          hidden = true;
          break;
        case secret_id:
          row.secret = true;
          break;
        case time_id:
          row.time = true;
          break;
        case map_id:
          row.map = true;
          break;
        case raw_id:
          row.raw = true;
          break;
        case nullable_id:
          row.nullable = true;
          break;
        default:
          break;
      }
    }
    row.label = '"' + row.name + "\":";
    if (!hidden) plan.push_back(std::move(row));
  }
  return plan;
}

} // namespace

const std::vector<field_plan>& plan_of(capnp::StructSchema schema) {
  static thread_local std::unordered_map<uint64_t, std::vector<field_plan>> plans;
  auto id = schema.getProto().getId();
  auto at = plans.find(id);
  if (at == plans.end()) at = plans.emplace(id, make_plan(schema)).first;
  return at->second;
}

std::string name_of(capnp::EnumSchema::Enumerant enumerant) {
  for (auto note : enumerant.getProto().getAnnotations())
    if (note.getId() == name_id) return note.getValue().getText();
  return enumerant.getProto().getName();
}

} // namespace troupe::json_detail
