#include "actors/backup_index.hpp"
#include "actors/volatile_keys.hpp"

#include "backends/image/bounded_yaml.hpp"
#include "messages/json.hpp"
#include "messages/json_read.hpp"
#include "messages/time.hpp"

#include <nlohmann/json.hpp>

namespace troupe {
namespace {

using json = nlohmann::json;
constexpr yaml_limits limits{.bytes = 1 << 20, .nodes = 200'000, .nesting = 12};

// What is taken over of an instance and of a snapshot; all else shows the state of a server.
constexpr const char* texts[] = {"name", "description", "architecture", "created_at"};
constexpr const char* flags[] = {"ephemeral", "stateful"};
constexpr const char* trees[] = {"profiles", "config", "devices"};

json part(const json& of, const char* name) {
  auto at = of.is_object() ? of.find(name) : of.end();
  return at == of.end() ? json{} : *at;
}

std::string word(const json& of, const char* name) {
  auto value = part(of, name);
  return value.is_string() ? value.get<std::string>() : "";
}

bool flag(const json& of, const char* name) { return is_true(word(of, name)); }

// A null is an empty one: `devices: {}` and `devices:` say the same.
json common_fields(const json& of) {
  auto out = json::object();
  for (auto name : texts)
    if (auto value = part(of, name); !value.is_null()) out[name] = value;
  for (auto name : flags) out[name] = flag(of, name);
  for (auto name : trees)
    if (auto value = part(of, name); !value.is_null()) out[name] = value;
  auto config = out.find("config");
  if (config == out.end() || !config->is_object()) return out;
  auto kept = json::object();
  for (auto& [key, value] : config->items())
    if (!is_servers_own(key)) kept[key] = value;
  *config = std::move(kept);
  return out;
}

// "c1/snap0" is how some write it.
std::string last_part(const std::string& name) { return name.substr(name.rfind('/') + 1); }

outcome<backup_description> description_of(const json& config) {
  auto instance = part(config, "container");
  if (instance.is_null()) instance = part(config, "instance"); // as LXD 6 writes it
  if (!instance.is_object()) return fail(fault::invalid, "The backup does not say which instance it holds");
  if (auto type = word(instance, "type"); type != "container" && !type.empty())
    return fail(fault::unsupported, "Backups of virtual machines are not supported yet");
  backup_description out;
  auto spec = message_from<schema::InstanceSpec>(common_fields(instance));
  if (!spec) return tl::unexpected{spec.error()};
  out.instance = std::move(*spec);
  auto snapshots = part(config, "snapshots");
  if (!snapshots.is_null() && !snapshots.is_array()) return fail(fault::invalid, "The backup's snapshots are no list");
  for (auto& each : snapshots) {
    auto fields = common_fields(each);
    fields.erase("description");
    fields["name"] = last_part(word(each, "name"));
    if (auto expires = part(each, "expires_at"); !expires.is_null()) fields["expires_at"] = expires;
    auto taken = message_from<schema::SnapshotSpec>(fields);
    if (!taken) return tl::unexpected{taken.error()};
    out.snapshots.push_back(std::move(*taken));
  }
  return out;
}

// A stream has the ids that its server's disk had: the guest's own, if nothing was shifted.
outcome<void> check_ids(const json& config) {
  auto shift = word(part(part(config, "container"), "config"), "volatile.last_state.idmap");
  if (shift.empty() || shift == "[]") return {};
  return fail(fault::unsupported, "The backup is optimized and of a container whose files have shifted ids: export it "
                                  "without --optimized-storage");
}

template <class Reader>
bool same_settings(Reader a, Reader b) {
  auto config = [](Reader of) {
    auto out = to_map(of.getConfig());
    std::erase_if(out, [](auto& entry) { return entry.first.starts_with("volatile."); });
    return out;
  };
  return view(a.getArchitecture()) == view(b.getArchitecture()) && a.getEphemeral() == b.getEphemeral() &&
         to_vector(a.getProfiles()) == to_vector(b.getProfiles()) && config(a) == config(b) &&
         to_map(a.getDevices()) == to_map(b.getDevices());
}

template <class Schema>
bool same(const message<Schema>& a, const message<Schema>& b) {
  return a.read([&](auto one) {
    return b.read(
        [&](auto other) { return view(one.getName()) == view(other.getName()) && same_settings(one, other); });
  });
}

// ---- writing

// The fields that REST shows, and what the profiles make of them.
template <class Reader>
json shown(const snapshot& records, std::string_view project, Reader spec) {
  std::string fields = "{";
  write_json_fields(fields, spec);
  auto out = json::parse(fields + "}");
  auto effective =
      expand(records, project, to_vector(spec.getProfiles()), to_map(spec.getConfig()), to_map(spec.getDevices()));
  out["expanded_config"] = effective.config;
  out["expanded_devices"] = effective.devices;
  return out;
}

json volume_json(const std::string& name, const std::string& created, bool of_snapshot) {
  json out{{"name", name},
           {"description", ""},
           {"content_type", "filesystem"},
           {"config", json::object()},
           {"created_at", created}};
  if (!of_snapshot) out["type"] = "container";
  return out;
}

json pool_json(const snapshot& records, std::string_view name) {
  auto pool = load<schema::PoolSpec>(records, table::pools, name);
  json out{{"name", name}, {"description", ""}, {"status", "Created"}, {"config", json::object()}};
  if (pool) out["driver"] = pool->read([](auto p) { return text(p.getDriver()); });
  return out;
}

json profiles_json(schema::InstanceSpec::Reader instance) {
  auto out = json::array();
  for (auto& name : to_vector(instance.getProfiles())) out.push_back({{"name", name}});
  return out;
}

} // namespace

outcome<backup_index> parse_backup_index(std::string_view yaml) {
  auto all = json_of_yaml(yaml, "The backup's index.yaml", limits);
  if (!all) return tl::unexpected{all.error()};
  if (auto type = word(*all, "type"); type != "container" && !type.empty())
    return fail(fault::unsupported, "A backup of type \"" + type.substr(0, 60) + "\" is not supported yet");
  if (part(*all, "config").is_null())
    return fail(fault::unsupported,
                "The backup is of a server before LXD 4.12: its index does not describe the instance");
  auto what = description_of(part(*all, "config"));
  if (!what) return tl::unexpected{what.error()};
  backup_index out{word(*all, "name"), word(*all, "pool"), word(*all, "backend"), flag(*all, "optimized"),
                   std::move(*what)};
  if (out.optimized)
    if (auto good = check_ids(part(*all, "config")); !good) return tl::unexpected{good.error()};
  std::vector<std::string> named, described;
  if (auto names = part(*all, "snapshots"); names.is_array())
    for (auto& each : names) named.push_back(each.is_string() ? each.get<std::string>() : "");
  for (auto& taken : out.what.snapshots) described.push_back(taken.read([](auto s) { return text(s.getName()); }));
  // Without its snapshots, an instance may still be described with them.
  if (named.empty()) out.what.snapshots.clear();
  if (!named.empty() && named != described)
    return fail(fault::invalid, "The backup's index names other snapshots than it describes");
  auto name = out.what.instance.read([](auto i) { return text(i.getName()); });
  if (out.name != name) return fail(fault::invalid, "The backup's index has two names for its instance");
  return out;
}

outcome<void> check_streams(std::string_view yaml) {
  if (yaml.empty()) return {};
  auto all = json_of_yaml(yaml, "The backup's optimized_header.yaml", limits);
  if (!all) return tl::unexpected{all.error()};
  auto subvolumes = part(*all, "subvolumes");
  if (!subvolumes.is_array()) return fail(fault::invalid, "The backup's optimized_header.yaml lists no subvolumes");
  for (auto& each : subvolumes)
    if (word(each, "path") != "/")
      return fail(fault::unsupported, "The backup holds subvolumes inside of its instance, which is not supported");
  return {};
}

outcome<backup_description> parse_backup_description(std::string_view yaml) {
  auto all = json_of_yaml(yaml, "The backup's backup.yaml", limits);
  if (!all) return tl::unexpected{all.error()};
  return description_of(*all);
}

outcome<void> check_same(const backup_description& index, const backup_description& beside) {
  auto differ = [](const std::string& what) {
    return fail(fault::invalid, "The backup's index.yaml and backup.yaml disagree about " + what);
  };
  if (!same(index.instance, beside.instance)) return differ("the instance");
  if (index.snapshots.empty()) return {}; // it may have been packed without them
  if (index.snapshots.size() != beside.snapshots.size()) return differ("the snapshots");
  for (size_t i = 0; i < index.snapshots.size(); ++i)
    if (!same(index.snapshots[i], beside.snapshots[i]))
      return differ("the snapshot \"" + index.snapshots[i].read([](auto s) { return text(s.getName()); }) + "\"");
  return {};
}

backup_texts describe_backup(const snapshot& records, schema::InstanceSpec::Reader instance,
                             const std::vector<message<schema::SnapshotSpec>>& snapshots, bool optimized) {
  auto name = text(instance.getName()), project = text(instance.getProject());
  auto pool = pool_json(records, view(instance.getPool()));
  auto container = shown(records, project, instance);
  container["status"] = "Stopped";
  container["status_code"] = 102;
  json config{{"container", container},
              {"pool", pool},
              {"profiles", profiles_json(instance)},
              {"volume", volume_json(name, container["created_at"], false)}};
  auto names = json::array();
  for (auto& each : snapshots)
    each.read([&](schema::SnapshotSpec::Reader taken) {
      auto one = shown(records, project, taken);
      names.push_back(text(taken.getName()));
      auto volume = volume_json(text(taken.getName()), one["created_at"], true);
      volume["expires_at"] = one["expires_at"];
      config["volume_snapshots"].push_back(volume);
      config["snapshots"].push_back(std::move(one));
    });
  json index{{"name", name},           {"backend", pool.value("driver", "")}, {"pool", pool["name"]},
             {"optimized", optimized}, {"optimized_header", optimized},       {"type", "container"},
             {"config", config}};
  if (!names.empty()) index["snapshots"] = names;
  return {yaml_of_json(index), yaml_of_json(config)};
}

} // namespace troupe
