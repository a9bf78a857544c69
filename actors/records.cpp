#include "actors/records.hpp"

#include <chrono>
#include <openssl/evp.h>

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

std::string url_of(std::string_view kind, std::string_view project, std::string_view name) {
  auto url = "/1.0/" + std::string{kind} + "/" + std::string{name};
  if (project != "default") url += "?project=" + std::string{project};
  return url;
}

template <class Uses>
std::vector<std::string> users(const snapshot& from, Uses&& uses) {
  std::vector<std::string> out;
  from.scan(table::instances, "", [&](std::string_view, std::string_view bytes) {
    message<schema::InstanceSpec>::from_bytes(bytes).read([&](auto spec) {
      if (uses(spec)) out.push_back(url_of("instances", view(spec.getProject()), view(spec.getName())));
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
        out.push_back(url_of("profiles", view(profile.getProject()), view(profile.getName())));
    });
    return true;
  });
}

} // namespace

expansion expand(const snapshot& from, std::string_view project, const std::vector<std::string>& profiles,
                 const config_map& config, const device_map& devices) {
  expansion out;
  for (auto& name : profiles)
    if (auto profile = load<schema::ProfileSpec>(from, table::profiles, in_project(project, name)))
      profile->read([&](auto p) { merge(out, to_map(p.getConfig()), to_map(p.getDevices())); });
  merge(out, config, devices);
  return out;
}

expansion expand(const snapshot& from, schema::InstanceSpec::Reader spec) {
  return expand(from, view(spec.getProject()), to_vector(spec.getProfiles()), to_map(spec.getConfig()),
                to_map(spec.getDevices()));
}

const config_map* root_disk(const device_map& devices) {
  for (auto& [name, device] : devices)
    if (get(device, "type") == "disk" && get(device, "path") == "/") return &device;
  return nullptr;
}

std::string instance_key(std::string_view project, std::string_view name) {
  return project == "default" ? std::string{name} : std::string{project} + "_" + std::string{name};
}

std::vector<std::string> users_of_profile(const snapshot& from, std::string_view project, std::string_view name) {
  return users(from, [&](auto spec) {
    if (view(spec.getProject()) != project) return false;
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
    out.push_back(url_of("images", "default", key.substr(prefix.size())));
    return true;
  });
  return out;
}

int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

std::string etag_of(std::string_view representation) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  EVP_Digest(representation.data(), representation.size(), digest, &size, EVP_sha256(), nullptr);
  static constexpr char digits[] = "0123456789abcdef";
  std::string out;
  for (unsigned i = 0; i < size; ++i) {
    out += digits[digest[i] >> 4];
    out += digits[digest[i] & 15];
  }
  return out;
}

} // namespace troupe
