#include "cli/audit/audit.hpp"

#include <algorithm>

namespace troupe::audit {
namespace {

using nlohmann::json;

std::string name_of(const json& instance) {
  return instance.value("project", "default") + "/" + instance.value("name", "");
}

// In force, profiles applied.
std::string setting(const json& instance, const std::string& key) {
  return instance.value("expanded_config", json::object()).value(key, "");
}

bool is_set(const json& instance, const std::string& key) {
  auto value = setting(instance, key);
  return value == "true" || value == "1" || value == "yes" || value == "on";
}

std::string config_of(const json& project, const std::string& key) {
  return project.value("config", json::object()).value(key, "");
}

// Of those that are not set.
std::string missing(std::initializer_list<const char*> keys, const auto& value_of) {
  std::string out;
  for (auto key : keys)
    if (value_of(key).empty()) out += (out.empty() ? "" : ", ") + std::string{key};
  return out;
}

template <class Judge>
std::vector<finding> of_instances(const facts& of, Judge judge) {
  std::vector<finding> out;
  for (auto& one : of.instances)
    if (auto text = judge(one); !text.empty()) out.push_back({name_of(one), text});
  return out;
}

// Who is restricted to project default works in it as in any other.
bool has_tenants(const facts& of, const std::string& project) {
  if (project != "default") return true;
  for (auto& one : of.certificates) {
    if (!one.value("restricted", false)) continue;
    auto projects = one.value("projects", json::array());
    if (std::find(projects.begin(), projects.end(), json(project)) != projects.end()) return true;
  }
  return false;
}

} // namespace

std::vector<finding> privileged_instances(const facts& of) {
  return of_instances(
      of, [](const json& one) -> std::string { return is_set(one, "security.privileged") ? "It is privileged" : ""; });
}

std::vector<finding> raw_keys(const facts& of) {
  return of_instances(of, [](const json& one) {
    std::string keys;
    auto config = one.value("expanded_config", json::object());
    for (auto& [key, value] : config.items())
      if (key.starts_with("raw.") && value != "") keys += (keys.empty() ? "It has " : ", ") + key;
    return keys;
  });
}

std::vector<finding> nested_instances(const facts& of) {
  return of_instances(of, [](const json& one) -> std::string {
    return is_set(one, "security.nesting") ? "It may hold containers of its own" : "";
  });
}

std::vector<finding> shared_ids(const facts& of) {
  return of_instances(of, [](const json& one) -> std::string {
    bool own = is_set(one, "security.idmap.isolated") || is_set(one, "security.privileged"); // that is said elsewhere
    return own ? "" : "Its user ids are those of other instances";
  });
}

std::vector<finding> unlimited_instances(const facts& of) {
  return of_instances(of, [](const json& one) -> std::string {
    auto none = missing({"limits.memory", "limits.processes"}, [&](auto key) { return setting(one, key); });
    return none.empty() ? "" : "It has no " + none;
  });
}

std::vector<finding> unrestricted_projects(const facts& of) {
  std::vector<finding> out;
  for (auto& one : of.projects)
    if (auto name = one.value("name", ""); has_tenants(of, name) && config_of(one, "restricted") != "true")
      out.push_back({name, "It is not restricted"});
  return out;
}

std::vector<finding> unlimited_projects(const facts& of) {
  std::vector<finding> out;
  for (auto& one : of.projects) {
    auto name = one.value("name", "");
    auto none = missing({"limits.instances", "limits.memory", "limits.processes"},
                        [&](auto key) { return config_of(one, key); });
    if (has_tenants(of, name) && !none.empty()) out.push_back({name, "It has no " + none});
  }
  return out;
}

} // namespace troupe::audit
