#include "gateway/bus/methods.hpp"

#include "actors/project_keys.hpp"

#include "gateway/bus/ask.hpp"

#include <map>

namespace troupe::on_bus {
namespace {

constexpr uint64_t reads_id = 0xd3a7c01be5f64921, implied_id = 0xe94b80d12c7fa635; // annotations of bus.capnp

struct row {
  std::string_view name;
  std::string_view same_as; // the route that does the same over REST; empty: none
  handler run;
  bool waits = false;
};

// To a collection that the project may share with project default.
template <feature What>
kj::Promise<void> navigate_home(const call_ptr& c) {
  auto home = home_of(c->with().db.read(), c->at.head->project, What);
  if (home == c->at.head->project) return navigate(c);
  auto head = std::make_shared<header>(*c->at.head);
  c->at.through = std::exchange(head->project, std::move(home));
  c->at.head = std::move(head);
  return navigate(c);
}

constexpr row rows[] = {
    {"Handle.restrict", "GET /1.0", restrict_handle},
    {"Handle.offers", "GET /1.0", offers_of_handle},
    {"Bus.server", "GET /1.0", view_server},
    {"Bus.updateServer", "PUT /1.0", update_server},
    {"Bus.resources", "GET /1.0/resources", view_resources},
    {"Bus.projects", "GET /1.0/projects", list_projects},
    {"Bus.project", "GET /1.0/projects/{name}", get_project},
    {"Bus.describe", "GET /1.0", describe},
    {"Bus.sessions", "", list_sessions},
    {"Bus.allInstances", "GET /1.0/instances", list_all_instances},
    {"Bus.createProject", "POST /1.0/projects", create_project},
    {"Bus.auth", "GET /1.0", navigate},
    {"Auth.identities", "GET /1.0/auth/identities", navigate},
    {"Auth.groups", "GET /1.0/auth/groups", navigate},
    {"Auth.providerGroups", "GET /1.0/auth/identity-provider-groups", navigate},
    {"Auth.permissions", "GET /1.0/auth/permissions", list_permissions},
    {"Identities.list", "GET /1.0/auth/identities", list_identities},
    {"Identities.get", "GET /1.0/auth/identities/{method}/{id}", navigate},
    {"Identities.current", "GET /1.0/auth/identities/current", current_identity},
    {"Identities.create", "POST /1.0/auth/identities/tls", create_identity},
    {"Identities.invite", "POST /1.0/auth/identities/tls", invite_identity},
    {"Identity.view", "GET /1.0/auth/identities/{method}/{id}", view_identity},
    {"Identity.update", "PUT /1.0/auth/identities/{method}/{id}", update_identity},
    {"Identity.delete", "DELETE /1.0/auth/identities/{method}/{id}", delete_identity},
    {"Groups.list", "GET /1.0/auth/groups", list_groups},
    {"Groups.get", "GET /1.0/auth/groups/{name}", navigate},
    {"Groups.create", "POST /1.0/auth/groups", create_group},
    {"Group.view", "GET /1.0/auth/groups/{name}", view_group},
    {"Group.update", "PUT /1.0/auth/groups/{name}", update_group},
    {"Group.rename", "POST /1.0/auth/groups/{name}", rename_group},
    {"Group.delete", "DELETE /1.0/auth/groups/{name}", delete_group},
    {"ProviderGroups.list", "GET /1.0/auth/identity-provider-groups", list_provider_groups},
    {"ProviderGroups.get", "GET /1.0/auth/identity-provider-groups/{name}", navigate},
    {"ProviderGroups.create", "POST /1.0/auth/identity-provider-groups", create_provider_group},
    {"ProviderGroup.view", "GET /1.0/auth/identity-provider-groups/{name}", view_provider_group},
    {"ProviderGroup.update", "PUT /1.0/auth/identity-provider-groups/{name}", update_provider_group},
    {"ProviderGroup.rename", "POST /1.0/auth/identity-provider-groups/{name}", rename_provider_group},
    {"ProviderGroup.delete", "DELETE /1.0/auth/identity-provider-groups/{name}", delete_provider_group},
    {"Project.view", "GET /1.0/projects/{name}", view_project},
    {"Project.update", "PUT /1.0/projects/{name}", update_project},
    {"Project.rename", "POST /1.0/projects/{name}", rename_project},
    {"Project.delete", "DELETE /1.0/projects/{name}", delete_project},
    {"Project.state", "GET /1.0/projects/{name}/state", measure_project},
    {"Project.instances", "GET /1.0/instances", navigate},
    {"Project.operations", "GET /1.0/operations", navigate},
    {"Operations.list", "GET /1.0/operations", list_operations},
    {"Operations.get", "GET /1.0/operations/{id}", navigate},
    {"Operation.view", "GET /1.0/operations/{id}", view_operation},
    {"Operation.wait", "GET /1.0/operations/{id}/wait", wait_operation, true},
    {"Operation.cancel", "DELETE /1.0/operations/{id}", cancel_operation},
    {"Operation.follow", "GET /1.0/events", follow_operation},
    {"Project.events", "GET /1.0/events", navigate},
    {"EventStream.subscribe", "GET /1.0/events", subscribe_to_events},
    {"EventStream.history", "GET /1.0/events/history", list_history},
    {"EventStream.durables", "GET /1.0/events/subscriptions", list_durables_},
    {"EventStream.deleteDurable", "DELETE /1.0/events/subscriptions/{name}", delete_durable_},
    {"Instances.list", "GET /1.0/instances", list_instances},
    {"Instances.get", "GET /1.0/instances/{name}", navigate},
    {"Instances.create", "POST /1.0/instances", create_instance},
    {"Instances.changeAll", "PUT /1.0/instances", change_all_instances},
    {"Instance.view", "GET /1.0/instances/{name}", view_instance},
    {"Instance.state", "GET /1.0/instances/{name}/state", measure_instance},
    {"Instance.update", "PUT /1.0/instances/{name}", update_instance},
    {"Instance.rename", "POST /1.0/instances/{name}", rename_instance},
    {"Instance.delete", "DELETE /1.0/instances/{name}", delete_instance},
    {"Instance.changeState", "PUT /1.0/instances/{name}/state", change_instance_state},
    {"Instance.start", "PUT /1.0/instances/{name}/state", power_instance},
    {"Instance.stop", "PUT /1.0/instances/{name}/state", power_instance},
    {"Instance.restart", "PUT /1.0/instances/{name}/state", power_instance},
    {"Instance.freeze", "PUT /1.0/instances/{name}/state", power_instance},
    {"Instance.unfreeze", "PUT /1.0/instances/{name}/state", power_instance},
    {"Instance.snapshots", "GET /1.0/instances/{name}/snapshots", list_snapshots},
    {"Instance.snapshot", "POST /1.0/instances/{name}/snapshots", take_snapshot},
    {"Instance.restore", "PUT /1.0/instances/{name}", restore_snapshot},
    {"Instance.renameSnapshot", "POST /1.0/instances/{name}/snapshots/{snapshot}", rename_snapshot},
    {"Instance.updateSnapshot", "PUT /1.0/instances/{name}/snapshots/{snapshot}", update_snapshot},
    {"Instance.deleteSnapshot", "DELETE /1.0/instances/{name}/snapshots/{snapshot}", delete_snapshot},
    {"Instance.rebuild", "POST /1.0/instances/{name}/rebuild", rebuild_instance},
    {"Instance.retention", "GET /1.0/instances/{name}/retention", retention_of_snapshots},
    {"Instance.prune", "POST /1.0/instances/{name}/retention", prune_snapshots_},
    {"Instance.backups", "GET /1.0/instances/{name}/backups", list_backups},
    {"Instance.backup", "POST /1.0/instances/{name}/backups", make_backup},
    {"Instance.renameBackup", "POST /1.0/instances/{name}/backups/{backup}", rename_backup},
    {"Instance.deleteBackup", "DELETE /1.0/instances/{name}/backups/{backup}", delete_backup},
    {"Instance.exportBackup", "GET /1.0/instances/{name}/backups/{backup}/export", export_backup},
    {"Instances.import", "POST /1.0/instances", import_instance},
    {"Images.publish", "POST /1.0/images", publish_instance},
    {"Instance.exec", "POST /1.0/instances/{name}/exec", exec_instance},
    {"Project.images", "GET /1.0/images", navigate_home<feature::images>},
    {"Project.profiles", "GET /1.0/profiles", navigate_home<feature::profiles>},
    {"Project.networks", "GET /1.0/networks", navigate_home<feature::networks>},
    {"Project.pools", "GET /1.0/storage-pools", navigate},
    {"Instance.consoleLog", "GET /1.0/instances/{name}/console", console_log},
    {"Instance.clearConsoleLog", "DELETE /1.0/instances/{name}/console", clear_console_log},
    {"Instance.logs", "GET /1.0/instances/{name}/logs", list_logs},
    {"Instance.readLog", "GET /1.0/instances/{name}/logs/{file}", read_log},
    {"Instance.files", "GET /1.0/instances/{name}/files", navigate},
    {"Files.view", "GET /1.0/instances/{name}/files", view_file},
    {"Files.read", "GET /1.0/instances/{name}/files", read_file},
    {"Files.write", "POST /1.0/instances/{name}/files", write_file},
    {"Files.makeDirectory", "POST /1.0/instances/{name}/files", make_directory},
    {"Files.makeLink", "POST /1.0/instances/{name}/files", make_link},
    {"Files.remove", "DELETE /1.0/instances/{name}/files", remove_file},
    {"Images.list", "GET /1.0/images", list_images},
    {"Images.get", "GET /1.0/images/{fingerprint}", navigate},
    {"Images.import", "POST /1.0/images", import_image_},
    {"Images.aliases", "GET /1.0/images/aliases", list_aliases},
    {"Images.alias", "GET /1.0/images/aliases/{name...}", navigate},
    {"Images.createAlias", "POST /1.0/images/aliases", create_alias},
    {"Image.view", "GET /1.0/images/{fingerprint}", view_image},
    {"Image.update", "PUT /1.0/images/{fingerprint}", update_image_},
    {"Image.delete", "DELETE /1.0/images/{fingerprint}", delete_image_},
    {"Image.export", "GET /1.0/images/{fingerprint}/export", export_image},
    {"Alias.view", "GET /1.0/images/aliases/{name...}", view_alias},
    {"Alias.update", "PUT /1.0/images/aliases/{name...}", update_alias},
    {"Alias.rename", "POST /1.0/images/aliases/{name...}", rename_alias},
    {"Alias.delete", "DELETE /1.0/images/aliases/{name...}", delete_alias},
    {"Profiles.list", "GET /1.0/profiles", list_profiles},
    {"Profiles.get", "GET /1.0/profiles/{name}", navigate},
    {"Profiles.create", "POST /1.0/profiles", create_profile},
    {"Profile.view", "GET /1.0/profiles/{name}", view_profile},
    {"Profile.update", "PUT /1.0/profiles/{name}", update_profile},
    {"Profile.rename", "POST /1.0/profiles/{name}", rename_profile},
    {"Profile.delete", "DELETE /1.0/profiles/{name}", delete_profile},
    {"Networks.list", "GET /1.0/networks", list_networks},
    {"Networks.get", "GET /1.0/networks/{name}", navigate},
    {"Networks.create", "POST /1.0/networks", create_network},
    {"Network.view", "GET /1.0/networks/{name}", view_network},
    {"Network.update", "PUT /1.0/networks/{name}", update_network},
    {"Network.rename", "POST /1.0/networks/{name}", rename_network},
    {"Network.delete", "DELETE /1.0/networks/{name}", delete_network},
    {"Network.leases", "GET /1.0/networks/{name}/leases", network_leases},
    {"Network.state", "GET /1.0/networks/{name}/state", network_state},
    {"Pools.list", "GET /1.0/storage-pools", list_pools},
    {"Pools.get", "GET /1.0/storage-pools/{name}", navigate},
    {"Pools.create", "POST /1.0/storage-pools", create_pool},
    {"Pool.view", "GET /1.0/storage-pools/{name}", view_pool},
    {"Pool.update", "PUT /1.0/storage-pools/{name}", update_pool},
    {"Pool.delete", "DELETE /1.0/storage-pools/{name}", delete_pool},
    {"Pool.resources", "GET /1.0/storage-pools/{name}/resources", pool_resources},
    {"Pool.volumes", "GET /1.0/storage-pools/{name}/volumes", list_volumes},
    {"Pool.volume", "GET /1.0/storage-pools/{name}/volumes/{type}/{volume}", navigate},
    {"Pool.createVolume", "POST /1.0/storage-pools/{name}/volumes", create_volume_},
    {"Volume.update", "PUT /1.0/storage-pools/{name}/volumes/{type}/{volume}", update_volume_},
    {"Volume.move", "POST /1.0/storage-pools/{name}/volumes/{type}/{volume}", move_volume_},
    {"Volume.delete", "DELETE /1.0/storage-pools/{name}/volumes/{type}/{volume}", delete_volume_},
    {"Volume.view", "GET /1.0/storage-pools/{name}/volumes/{type}/{volume}", view_volume},
    {"Volume.state", "GET /1.0/storage-pools/{name}/volumes/{type}/{volume}/state", volume_state},
};

// "GET /1.0/instances"
const route* find_route(std::string_view text) {
  auto space = text.find(' ');
  for (auto& each : routes())
    if (text.substr(0, space) == each.method && text.substr(space + 1) == each.pattern) return &each;
  return nullptr;
}

using key = std::pair<uint64_t, uint16_t>;

struct index {
  std::map<key, method_facts> methods;
  std::vector<capnp::InterfaceSchema> found;

  void add(capnp::InterfaceSchema type) {
    for (auto& known : found)
      if (known.getProto().getId() == type.getProto().getId()) return;
    found.push_back(type);
    for (auto method : type.getMethods()) add(type, method);
    for (auto base : type.getSuperclasses()) add(base);
  }

  void add(capnp::InterfaceSchema type, capnp::InterfaceSchema::Method method) {
    method_facts facts;
    facts.name = short_name(type) + "." + method.getProto().getName().cStr();
    for (auto note : method.getProto().getAnnotations()) {
      facts.reads |= note.getId() == reads_id;
      facts.implied |= note.getId() == implied_id;
    }
    for (auto& candidate : rows)
      if (candidate.name == facts.name) {
        facts.same_as = find_route(candidate.same_as);
        facts.run = candidate.run;
        facts.waits = candidate.waits;
      }
    for (auto field : method.getParamType().getFields()) facts.waits |= field.getType().isInterface();
    methods.emplace(key{type.getProto().getId(), method.getOrdinal()}, std::move(facts));
    for (auto fields : {method.getParamType().getFields(), method.getResultType().getFields()})
      for (auto field : fields) follow(field.getType());
  }

  void follow(capnp::Type type) {
    while (type.isList()) type = type.asList().getElementType();
    if (type.isInterface()) add(type.asInterface());
  }
};

const index& all() {
  static const index made = [] {
    index out;
    out.add(capnp::Schema::from<bus::Bus>());
    return out;
  }();
  return made;
}

} // namespace

const method_facts* find_method(uint64_t interface_id, uint16_t ordinal) {
  auto& methods = all().methods;
  auto at = methods.find({interface_id, ordinal});
  return at == methods.end() ? nullptr : &at->second;
}

const method_facts* find_method(std::string_view name) {
  for (auto& [key, facts] : all().methods)
    if (facts.name == name) return &facts;
  return nullptr;
}

const std::vector<capnp::InterfaceSchema>& interfaces() { return all().found; }

std::string short_name(capnp::Schema schema) { return schema.getShortDisplayName().cStr(); }

// The handle of each capability that the method gives; the texts among the parameters are its names.
kj::Promise<void> navigate(const call_ptr& c) {
  auto where = c->at;
  auto params = c->context.getParams();
  for (auto field : params.getSchema().getFields())
    if (field.getType().isText()) where = where.below(text(params.get(field).as<capnp::Text>()));
  auto results = c->context.getResults();
  for (auto field : results.getSchema().getFields())
    if (field.getType().isInterface()) results.set(field, make_handle(field.getType().asInterface(), where));
  return kj::READY_NOW;
}

} // namespace troupe::on_bus
