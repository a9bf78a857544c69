#include "actors/records.hpp"

#include "actors/project_keys.hpp"
#include "runtime/sha256.hpp"

#include <chrono>

namespace troupe {
namespace {

void merge(expansion& into, const config_map& config, const device_map& devices) {
  for (auto& [key, value] : config) into.config.insert_or_assign(key, value);
  for (auto& [name, device] : devices) into.devices.insert_or_assign(name, device);
}

bool uses_network(const device_map& devices, std::string_view network) {
  for (auto& [name, device] : devices)
    if (get(device, "type") == "nic" && (get(device, "network") == network || get(device, "parent") == network))
      return true;
  return false;
}

bool uses_pool(const device_map& devices, std::string_view pool) {
  for (auto& [name, device] : devices)
    if (get(device, "type") == "disk" && get(device, "pool") == pool) return true;
  return false;
}

template <class Uses>
std::vector<std::string> users(const snapshot& from, Uses&& uses) {
  std::vector<std::string> out;
  from.scan(table::instances, "", [&](std::string_view, std::string_view bytes) {
    message<schema::InstanceSpec>::from_bytes(bytes).read([&](auto spec) {
      if (uses(spec)) out.push_back(url_of_in("instances", view(spec.getProject()), view(spec.getName())));
    });
    return true;
  });
  return out;
}

void add_profiles(const snapshot& from, std::vector<std::string>& out,
                  const std::function<bool(const device_map&)>& uses) {
  from.scan(table::profiles, "", [&](std::string_view, std::string_view bytes) {
    message<schema::ProfileSpec>::from_bytes(bytes).read([&](auto profile) {
      if (uses(to_map(profile.getDevices())))
        out.push_back(url_of_in("profiles", view(profile.getProject()), view(profile.getName())));
    });
    return true;
  });
}

} // namespace

std::string url_of_in(std::string_view collection, std::string_view project, std::string_view name) {
  auto url = "/1.0/" + std::string{collection} + "/" + std::string{name};
  if (project != "default") url += "?project=" + std::string{project};
  return url;
}

std::vector<std::string> projects_with_image(const snapshot& from, std::string_view fingerprint) {
  std::vector<std::string> out;
  from.scan(table::projects, "", [&](std::string_view project, std::string_view) {
    if (from.get(table::images, in_project(project, fingerprint))) out.emplace_back(project);
    return true;
  });
  return out;
}

expansion expand(const snapshot& from, std::string_view project, const std::vector<std::string>& profiles,
                 const config_map& config, const device_map& devices) {
  expansion out;
  auto home = home_of(from, project, feature::profiles);
  for (auto& name : profiles)
    if (auto profile = load<schema::ProfileSpec>(from, table::profiles, in_project(home, name)))
      profile->read([&](auto p) { merge(out, to_map(p.getConfig()), to_map(p.getDevices())); });
  merge(out, config, devices);
  return out;
}

expansion expand(const snapshot& from, schema::InstanceSpec::Reader spec) {
  return expand(from, view(spec.getProject()), to_vector(spec.getProfiles()), to_map(spec.getConfig()),
                to_map(spec.getDevices()));
}

bool is_root(const config_map& device) { return get(device, "type") == "disk" && get(device, "path") == "/"; }

const config_map* root_disk(const device_map& devices) {
  for (auto& [name, device] : devices)
    if (is_root(device)) return &device;
  return nullptr;
}

std::string instance_key(std::string_view project, std::string_view name) {
  return project == "default" ? std::string{name} : std::string{project} + "_" + std::string{name};
}

std::string id_of_key(const snapshot& from, std::string_view key) {
  auto line = key.rfind('_'); // which no instance's name has
  auto id = line == key.npos ? in_project("default", key) : in_project(key.substr(0, line), key.substr(line + 1));
  return from.get(table::instances, id) ? id : std::string{};
}

std::string_view word_of(schema::InstanceType type) {
  return type == schema::InstanceType::VIRTUAL_MACHINE ? "virtual-machine" : "container";
}

schema::InstanceType type_of(const snapshot& from, std::string_view project, std::string_view name) {
  auto spec = load<schema::InstanceSpec>(from, table::instances, in_project(project, name));
  return spec ? spec->read([](auto s) { return s.getType(); }) : schema::InstanceType::CONTAINER;
}

std::string volume_word(schema::InstanceType type, std::string_view key) {
  return (type == schema::InstanceType::VIRTUAL_MACHINE ? "virtual-machines/" : "") + std::string{key};
}

std::vector<std::pair<std::string, std::vector<std::string>>>
resources_of(schema::InstanceType type, std::string_view project, std::string_view name) {
  std::vector<std::pair<std::string, std::vector<std::string>>> out{
      {"instances", {url_of_in("instances", project, name)}}};
  if (type == schema::InstanceType::CONTAINER) out.push_back({"containers", {url_of_in("containers", project, name)}});
  return out;
}

std::string dns_name(std::string_view project, std::string_view name) {
  constexpr size_t label_max = 63;
  if (project == "default") return std::string{name};
  auto label = std::string{name} + "--" + std::string{project};
  return label.size() > label_max || project.find('.') != project.npos ? std::string{} : label;
}

std::vector<std::string> users_of_profile(const snapshot& from, std::string_view project, std::string_view name) {
  return users(from, [&](auto spec) {
    if (home_of(from, view(spec.getProject()), feature::profiles) != project) return false;
    for (auto used : spec.getProfiles())
      if (view(used) == name) return true;
    return false;
  });
}

std::vector<std::string> users_of_network(const snapshot& from, std::string_view name) {
  auto out = users(from, [&](auto spec) { return uses_network(expand(from, spec).devices, name); });
  add_profiles(from, out, [&](const device_map& devices) { return uses_network(devices, name); });
  return out;
}

std::vector<std::string> users_of_pool(const snapshot& from, std::string_view name) {
  auto out = users(
      from, [&](auto spec) { return view(spec.getPool()) == name || uses_pool(expand(from, spec).devices, name); });
  add_profiles(from, out, [&](const device_map& devices) { return uses_pool(devices, name); });
  auto prefix = std::string{name} + "/image/";
  from.scan(table::volumes, prefix, [&](std::string_view key, std::string_view) {
    auto fingerprint = key.substr(prefix.size());
    for (auto& project : projects_with_image(from, fingerprint))
      out.push_back(url_of_in("images", project, fingerprint));
    return true;
  });
  from.scan(table::custom_volumes, "", [&](std::string_view, std::string_view bytes) {
    message<schema::VolumeSpec>::from_bytes(bytes).read([&](schema::VolumeSpec::Reader v) {
      if (view(v.getPool()) != name) return;
      auto project = view(v.getProject());
      out.push_back("/1.0/storage-pools/" + std::string{name} + "/volumes/custom/" + text(v.getName()) +
                    (project == "default" ? "" : "?project=" + std::string{project}));
    });
    return true;
  });
  return out;
}

int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

std::string etag_of(std::string_view representation) { return sha256_hex(representation); }

} // namespace troupe
