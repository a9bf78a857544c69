#include "actors/entities.hpp"

#include "actors/project_keys.hpp"
#include "actors/records.hpp"

#include <algorithm>

namespace troupe {
namespace {

// In the order in which they are listed. A record of a thing in a project is filed under PROJECT/NAME.
struct row {
  std::string_view type;
  table where;
};
constexpr row rows[] = {
    {"project", table::projects},
    {"instance", table::instances},
    {"image", table::images},
    {"image_alias", table::aliases},
    {"profile", table::profiles},
    {"network", table::networks},
    {"storage_pool", table::pools},
    {"certificate", table::certificates},
    {"identity", table::identities},
    {"group", table::auth_groups},
    {"identity_provider_group", table::identity_provider_groups},
};

entity entity_in(const row& from, std::string_view key) {
  if (from.type == "project") return the_project(key);
  entity out{std::string{from.type}};
  if (find_entity_type(from.type)->in_project) {
    auto slash = std::min(key.find('/'), key.size());
    out.project = key.substr(0, slash);
    key.remove_prefix(std::min(slash + 1, key.size()));
  }
  out.name = key;
  return out;
}

std::string key_of(const entity& thing) {
  if (thing.type == "project") return thing.project;
  return thing.project.empty() ? thing.name : thing.project + '/' + thing.name;
}

/// PROJECT/POOL/NAME
entity custom_volume_in(std::string_view key) {
  auto first = std::min(key.find('/'), key.size()), second = std::min(key.find('/', first + 1), key.size());
  auto part = [&](size_t from, size_t to) { return std::string{key.substr(std::min(from, key.size()), to - from)}; };
  return {"storage_volume", part(0, first), part(first + 1, second) + "/custom/" + part(second + 1, key.size())};
}

/// The root volumes are the instances' own records; the images' are the pool's, and there for who has the image.
bool volume_exists(const snapshot& records, const entity& thing) {
  auto [pool, type, name] = volume_parts(thing.name);
  if (type == "container") {
    auto instance = load<schema::InstanceSpec>(records, table::instances, in_project(thing.project, name));
    return instance && instance->read([&, &where = pool](auto i) { return view(i.getPool()) == where; });
  }
  if (type == "custom")
    return records.get(table::custom_volumes, thing.project + '/' + std::string{pool} + '/' + std::string{name})
        .has_value();
  auto home = home_of(records, thing.project, feature::images);
  return type == "image" && records.get(table::volumes, thing.name) &&
         records.get(table::images, in_project(home, name));
}

} // namespace

volume_name volume_parts(std::string_view name) {
  auto first = std::min(name.find('/'), name.size());
  auto rest = name.substr(std::min(first + 1, name.size()));
  auto second = std::min(rest.find('/'), rest.size());
  return {name.substr(0, first), rest.substr(0, second), rest.substr(std::min(second + 1, rest.size()))};
}

bool exists(const snapshot& records, const entity& thing) {
  if (thing.type == "server") return true;
  if (thing.type == "storage_volume") return volume_exists(records, thing);
  auto at = std::find_if(std::begin(rows), std::end(rows), [&](auto& row) { return row.type == thing.type; });
  return at != std::end(rows) && records.get(at->where, key_of(thing)).has_value();
}

void each_entity(const snapshot& records, std::string_view type, const std::function<bool(const entity&)>& visit) {
  if (type == "server") visit(the_server());
  for (auto& row : rows)
    if (row.type == type)
      records.scan(row.where, "", [&](std::string_view key, std::string_view) { return visit(entity_in(row, key)); });
  if (type == "storage_volume")
    records.scan(table::custom_volumes, "",
                 [&](std::string_view key, std::string_view) { return visit(custom_volume_in(key)); });
}

std::optional<entity> entity_at(table where, std::string_view key) {
  if (where == table::custom_volumes) return custom_volume_in(key);
  for (auto& row : rows)
    if (row.where == where) return entity_in(row, key);
  return std::nullopt;
}

} // namespace troupe
