#include "actors/config_keys.hpp"
#include "actors/instance_admission.hpp"
#include "actors/instance_copy.hpp"
#include "actors/instance_image.hpp"
#include "actors/instance_kinds.hpp"
#include "actors/instance_nics.hpp"
#include "actors/instance_receive.hpp"
#include "actors/instance_types.hpp"
#include "actors/instances.hpp"
#include "actors/names.hpp"
#include "actors/project_keys.hpp"
#include "actors/volatile_keys.hpp"
#include "runtime/uuid.hpp"

namespace troupe {
namespace {

struct draft {
  schema::InstanceType type = schema::InstanceType::CONTAINER;
  std::string name, pool, fingerprint, size;
  std::optional<original> from; // what it is a copy of
  std::vector<std::string> profiles;
  config_map config;
  device_map devices;
  id_range ids;
  bool comes = false, with_snapshots = false; // from another server
};

// `live` is set by the stock client whenever the source runs; a copy on one server never takes processes along.
outcome<void> check_copy(schema::InstanceSource::Reader source) {
  if (source.getSource().size() == 0) return fail(fault::invalid, "The instance to copy must be named");
  return {};
}

outcome<void> check_source(schema::CreateInstance::Reader post) {
  auto type = view(post.getSource().getType());
  if (type == "image" || type == "none") return {};
  if (type == "copy") return check_copy(post.getSource());
  if (type == "migration") return check_migration(post.getSource());
  return fail(fault::invalid,
              type.empty() ? "The source type is missing" : "Unknown source type: " + std::string{type});
}

// Who names none gets those of the image. That there is no such image is told later.
std::vector<std::string> profiles_of(const snapshot& records, const std::string& project,
                                     schema::CreateInstance::Reader post) {
  if (post.hasProfiles()) return to_vector(post.getProfiles());
  if (view(post.getSource().getType()) == "image")
    if (auto image = choose_image(records, project, post.getSource(), post.getType()))
      return std::move(image->profiles);
  return {"default"};
}

outcome<void> check_request(schema::CreateInstance::Reader post, const snapshot& records, const std::string& project,
                            const draft& d) {
  if (auto good = check_instance_name(d.name); !good) return good;
  if (d.type == schema::InstanceType::VIRTUAL_MACHINE && view(post.getSource().getType()) == "migration")
    return fail(fault::unsupported, "Virtual machines cannot come from other servers yet");
  if (post.getStateful() || post.getRestore().size())
    return fail(fault::unsupported, "Stateful instances are not supported yet");
  auto architecture = text(post.getArchitecture());
  if (!architecture.empty() && architecture != host_architecture())
    return fail(fault::invalid,
                "Architecture \"" + architecture + "\" does not run on this host (" + host_architecture() + ")");
  if (auto good = check_text("description", view(post.getDescription())); !good) return good;
  if (auto good = check_source(post); !good) return good;
  if (auto good = check_instance_config(d.config); !good) return good;
  if (auto good = check_devices(d.devices); !good) return good;
  if (auto good = check_distinct("Profile", d.profiles); !good) return good;
  auto home = home_of(records, project, feature::profiles);
  for (auto& profile : d.profiles)
    if (!records.get(table::profiles, in_project(home, profile)))
      return fail(fault::invalid, "Profile \"" + profile + "\" does not exist");
  if (records.get(table::instances, in_project(project, d.name)))
    return fail(fault::already_exists, "Instance \"" + d.name + "\" already exists");
  return {};
}

/// What the request says itself goes before its type.
outcome<void> take_type(std::string_view type, draft& d) {
  if (type.empty()) return {};
  auto limits = limits_of_type(type);
  if (!limits) return tl::unexpected{limits.error()};
  for (auto& [key, value] : *limits) d.config.emplace(key, value);
  return {};
}

outcome<void> take_image(const snapshot& records, const std::string& project, schema::CreateInstance::Reader post,
                         draft& d) {
  if (view(post.getSource().getType()) != "image") return {};
  auto image = choose_image(records, project, post.getSource(), d.type);
  if (!image) return tl::unexpected{image.error()};
  d.fingerprint = image->fingerprint;
  d.config.merge(std::move(image->properties));
  d.config.insert_or_assign("volatile.base_image", d.fingerprint);
  return {};
}

outcome<void> take_original(const snapshot& records, const header& head, schema::CreateInstance::Reader post,
                            draft& d) {
  if (view(post.getSource().getType()) != "copy") return {};
  auto from = find_original(records, head, post.getSource());
  if (!from) return tl::unexpected{from.error()};
  d.type = from->type; // clients need not say it
  if (!from->base_image.empty()) d.config.insert_or_assign("volatile.base_image", from->base_image);
  d.from = std::move(*from);
  return {};
}

// As a client says of what another server sends; the image itself need not be here.
void take_base_image(schema::InstanceSource::Reader source, draft& d) {
  d.comes = view(source.getType()) == "migration";
  d.with_snapshots = d.comes && !source.getInstanceOnly() && !source.getContainerOnly();
  auto base = view(source.getBaseImage());
  bool is_fingerprint = base.size() == 64 && base.find_first_not_of("0123456789abcdef") == base.npos;
  if (d.comes && is_fingerprint) d.config.insert_or_assign("volatile.base_image", std::string{base});
}

spec_record make_spec(schema::CreateInstance::Reader post, const header& head, const draft& d, uint64_t id) {
  return spec_record::make([&](schema::InstanceSpec::Builder s) {
    s.setName(d.name);
    s.setProject(head.project);
    s.setDescription(post.getDescription());
    s.setType(d.type);
    s.setArchitecture(host_architecture());
    s.setEphemeral(post.getEphemeral());
    s.setCreatedAt(now_ns());
    s.setLocation("none");
    s.setId(id);
    s.setPool(d.pool);
    s.setIdmapBase(d.ids.host);
    s.setIdmapSize(d.ids.size);
    fill(s.initProfiles(static_cast<unsigned>(d.profiles.size())), d.profiles);
    fill(s.initConfig(static_cast<unsigned>(d.config.size())), d.config);
    fill(s.initDevices(static_cast<unsigned>(d.devices.size())), d.devices);
  });
}

void copy_snapshots(saga& plan, const snapshot& records, const std::string& project, const draft& d) {
  for (auto& each : d.from->snapshots) {
    auto copy = copy_snapshot(records, project, d.pool, each);
    auto name = each.read([](auto s) { return text(s.getName()); });
    plan.before.push_back(copy.step);
    plan.commit.writes.push_back(put(table::snapshots, snapshot_key(project, d.name, name), copy.record));
  }
}

saga_step volume_step(const draft& d, const to_instance& whom) {
  auto key = volume_word(d.type, instance_key(whom.project, whom.name));
  if (d.comes) return receive_step(whom, d.pool, key, d.size, d.with_snapshots);
  if (d.from) return copy_step(d.pool, key, d.from->pool, d.from->volume, d.size);
  return make_volume_step(d.type, d.pool, key, d.fingerprint, d.size);
}

std::shared_ptr<saga> make_saga(const envelope<schema::CreateInstance>& request, const draft& d,
                                const spec_record& spec, uint64_t id) {
  auto& head = *request.head;
  auto record = in_project(head.project, d.name), url = "/1.0/instances/" + d.name;
  auto plan = std::make_shared<saga>();
  plan->kind = "instance.create";
  plan->description = "Creating instance";
  plan->head = request.head;
  plan->entity = "instance/" + record;
  plan->resources = resources_of(d.type, head.project, d.name);
  to_instance whom{head.project, d.name};
  plan->may_cancel = !d.fingerprint.empty() || d.comes;
  plan->before.push_back(volume_step(d, whom));
  if (d.comes) plan->after.push_back(settle_step(whom, d.pool));
  plan->commit.conditions.push_back(absent(table::instances, record));
  plan->commit.writes = {put(table::instances, record, spec),
                         put(table::statuses, record, status_record{}),
                         {table::counters, "instance", std::to_string(id)}};
  plan->commit.events.push_back(lifecycle_event(head, "instance", d.name, "instance-created", url,
                                                {{"type", std::string{word_of(d.type)}}, {"storage-pool", d.pool}}));
  return plan;
}

} // namespace

outcome<std::shared_ptr<saga>> plan_create(const services& with, const envelope<schema::CreateInstance>& request,
                                           uint64_t id) {
  auto records = with.db.read();
  auto& head = *request.head;
  return request.body.read([&](schema::CreateInstance::Reader post) -> outcome<std::shared_ptr<saga>> {
    draft d;
    d.type = post.getType();
    d.name = post.getName().size() ? text(post.getName()) : random_instance_name();
    d.profiles = profiles_of(records, head.project, post);
    d.config = to_map(post.getConfig());
    d.devices = to_map(post.getDevices());
    if (auto good = check_volatile_names(d.config); !good) return tl::unexpected{good.error()};
    std::erase_if(d.config, [](auto& entry) { return entry.second.empty() || is_servers_own(entry.first); });
    if (auto good = take_type(view(post.getInstanceType()), d); !good) return tl::unexpected{good.error()};
    if (auto good = check_request(post, records, head.project, d); !good) return tl::unexpected{good.error()};
    if (auto good = take_image(records, head.project, post, d); !good) return tl::unexpected{good.error()};
    if (auto good = take_original(records, head, post, d); !good) return tl::unexpected{good.error()};
    take_base_image(post.getSource(), d);
    instance_draft wanted{head.project, d.type, d.profiles, d.config, d.devices};
    auto use = judge_draft(records, wanted);
    if (!use) return tl::unexpected{use.error()};
    auto effective = expand(records, head.project, d.profiles, d.config, d.devices);
    auto pool = get(*root_disk(effective.devices), "pool");
    d.pool = pool;
    d.size = size_of_root(effective);
    d.config["volatile.uuid"] = make_uuid_v4();
    if (!d.fingerprint.empty()) d.config["volatile.apply_template"] = "create";
    if (d.from || d.comes) d.config["volatile.apply_template"] = "copy";
    settle_volatile(d.name, d.config, effective);
    d.ids = choose_ids(with, records, effective.config, "");
    if (d.ids.size == 0) return fail(fault::too_large, "No range of host ids is free");
    auto plan = make_saga(request, d, make_spec(post, head, d, id), id);
    if (d.from) copy_snapshots(*plan, records, head.project, d);
    if (is_limited(project_config(records, head.project))) plan->claim = *use;
    plan->admit = [wanted, granted = plan->claim](const snapshot& now) { return admit_draft(now, wanted, granted); };
    return plan;
  });
}

} // namespace troupe
