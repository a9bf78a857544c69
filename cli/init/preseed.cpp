#include "cli/init/preseed.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <span>
#include <yaml-cpp/yaml.h>

namespace troupe {

using nlohmann::json;

namespace {

enum class shape { text, map, map_of_maps };

struct field {
  const char* name;
  shape form;
};

constexpr field network_fields[] = {{"name", shape::text},
                                    {"type", shape::text},
                                    {"project", shape::text},
                                    {"description", shape::text},
                                    {"config", shape::map}};
constexpr field pool_fields[] = {
    {"name", shape::text}, {"driver", shape::text}, {"description", shape::text}, {"config", shape::map}};
constexpr field profile_fields[] = {
    {"name", shape::text}, {"description", shape::text}, {"config", shape::map}, {"devices", shape::map_of_maps}};
constexpr field project_fields[] = {{"name", shape::text}, {"description", shape::text}, {"config", shape::map}};

struct section {
  const char* name;
  std::span<const field> fields;
};

constexpr section sections[] = {{"networks", network_fields},
                                {"storage_pools", pool_fields},
                                {"profiles", profile_fields},
                                {"projects", project_fields}};

tl::unexpected<error> wrong(const YAML::Node& node, const std::string& sentence) {
  return fail(fault::invalid, "Preseed line " + std::to_string(node.Mark().line + 1) + ": " + sentence);
}

outcome<json> to_text(const YAML::Node& node, const std::string& place) {
  if (node.IsNull()) return json("");
  if (!node.IsScalar()) return wrong(node, "The value of " + place + " must be a single value");
  return json(node.Scalar());
}

/// Calls `each(key, value)` for every member; refuses keys given twice. Null is an empty map.
template <class Each>
outcome<void> walk(const YAML::Node& node, const std::string& place, Each&& each) {
  if (node.IsNull()) return {};
  if (!node.IsMap()) return wrong(node, place + " must be a map");
  std::set<std::string> seen;
  for (auto member : node) {
    if (!member.first.IsScalar()) return wrong(member.first, "A key in " + place + " must be text");
    auto key = member.first.Scalar();
    if (!seen.insert(key).second) return wrong(member.first, "A key occurs twice in " + place + ": " + key);
    if (outcome<void> done = each(key, member.second); !done) return done;
  }
  return {};
}

outcome<json> to_map(const YAML::Node& node, const std::string& place, bool of_maps) {
  json out = json::object();
  auto done = walk(node, place, [&](const std::string& key, const YAML::Node& value) -> outcome<void> {
    auto read = of_maps ? to_map(value, place + "." + key, false) : to_text(value, place + "." + key);
    if (!read) return tl::unexpected{read.error()};
    out[key] = std::move(*read);
    return {};
  });
  if (!done) return tl::unexpected{done.error()};
  return out;
}

outcome<json> to_object(const YAML::Node& node, const section& of) {
  const std::string place = std::string{"an entry of "} + of.name;
  json out = json::object();
  auto done = walk(node, place, [&](const std::string& key, const YAML::Node& value) -> outcome<void> {
    auto known = std::find_if(of.fields.begin(), of.fields.end(), [&](const field& f) { return key == f.name; });
    if (known == of.fields.end()) return wrong(value, "Unknown key \"" + key + "\" in " + place);
    auto read =
        known->form == shape::text ? to_text(value, key) : to_map(value, key, known->form == shape::map_of_maps);
    if (!read) return tl::unexpected{read.error()};
    out[key] = std::move(*read);
    return {};
  });
  if (!done) return tl::unexpected{done.error()};
  if (out.value("name", "").empty()) return wrong(node, place + " has no name");
  return out;
}

outcome<json> to_list(const YAML::Node& node, const section& of) {
  json out = json::array();
  if (node.IsNull()) return out;
  if (!node.IsSequence()) return wrong(node, std::string{of.name} + " must be a list");
  for (auto entry : node) {
    auto read = to_object(entry, of);
    if (!read) return tl::unexpected{read.error()};
    out.push_back(std::move(*read));
  }
  return out;
}

/// Clusters are not there yet; LXD's own dumps name the key all the same.
outcome<void> check_no_cluster(const YAML::Node& node) {
  if (node.IsNull()) return {};
  if (node.IsMap() && (!node["enabled"] || node["enabled"].Scalar() == "false")) return {};
  return fail(fault::unsupported, "Clustering is not supported yet");
}

outcome<void> check_projects(const json& setup) {
  auto is_default = [](const std::string& name) { return name.empty() || name == "default"; };
  for (auto& project : setup.value("projects", json::array()))
    if (!is_default(project.value("name", "")))
      return fail(fault::unsupported, "Only the project \"default\" is supported yet");
  for (auto& network : setup.value("networks", json::array()))
    if (!is_default(network.value("project", "")))
      return fail(fault::unsupported, "Networks can only be in the project \"default\" yet");
  return {};
}

outcome<json> to_setup(const YAML::Node& root) {
  json out = json::object();
  auto done = walk(root, "the preseed", [&](const std::string& key, const YAML::Node& value) -> outcome<void> {
    if (key == "cluster") return check_no_cluster(value);
    auto known =
        std::find_if(std::begin(sections), std::end(sections), [&](const section& s) { return key == s.name; });
    if (key != "config" && known == std::end(sections)) return wrong(value, "Unknown key \"" + key + "\"");
    auto read = key == "config" ? to_map(value, key, false) : to_list(value, *known);
    if (!read) return tl::unexpected{read.error()};
    out[key] = std::move(*read);
    return {};
  });
  if (!done) return tl::unexpected{done.error()};
  if (auto fine = check_projects(out); !fine) return tl::unexpected{fine.error()};
  return out;
}

} // namespace

outcome<json> parse_preseed(const std::string& yaml) {
  try {
    return to_setup(YAML::Load(yaml));
  } catch (const YAML::Exception& problem) {
    return fail(fault::invalid, "Preseed line " + std::to_string(problem.mark.line + 1) + ": " + problem.msg);
  }
}

} // namespace troupe
