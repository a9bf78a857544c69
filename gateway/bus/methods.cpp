#include "gateway/bus/methods.hpp"

#include "actors/project_keys.hpp"

#include "gateway/bus/ask.hpp"

#include <map>

namespace troupe::on_bus {
namespace {

constexpr uint64_t reads_id = 0xd3a7c01be5f64921, implied_id = 0xe94b80d12c7fa635; // annotations of bus.capnp

struct row {
  std::string_view name;
  handler run;
  bool waits = false;
};

// To a collection that the project may share with project default.
template <feature What>
kj::Promise<void> navigate_home(const call_ptr& c) {
  auto head = std::make_shared<header>(*c->at.head);
  head->project = home_of(c->with().db.read(), head->project, What);
  c->at.head = std::move(head);
  return navigate(c);
}

constexpr row rows[] = {
    {"Handle.restrict", restrict_handle},
    {"Bus.server", view_server},
    {"Bus.updateServer", update_server},
    {"Bus.resources", view_resources},
    {"Bus.projects", list_projects},
    {"Bus.project", get_project},
    {"Bus.describe", describe},
    {"Bus.sessions", list_sessions},
    {"Bus.allInstances", list_all_instances},
    {"Bus.createProject", create_project},
    {"Project.view", view_project},
    {"Project.update", update_project},
    {"Project.rename", rename_project},
    {"Project.delete", delete_project},
    {"Project.state", measure_project},
    {"Project.instances", navigate},
    {"Project.operations", navigate},
    {"Operations.list", list_operations},
    {"Operations.get", navigate},
    {"Operation.view", view_operation},
    {"Operation.wait", wait_operation, true},
    {"Operation.cancel", cancel_operation},
    {"Operation.follow", follow_operation},
    {"Project.events", navigate},
    {"EventStream.subscribe", subscribe_to_events},
    {"EventStream.history", list_history},
    {"EventStream.durables", list_durables_},
    {"EventStream.deleteDurable", delete_durable_},
    {"Instances.list", list_instances},
    {"Instances.get", navigate},
    {"Instances.create", create_instance},
    {"Instances.changeAll", change_all_instances},
    {"Instance.view", view_instance},
    {"Instance.state", measure_instance},
    {"Instance.update", update_instance},
    {"Instance.rename", rename_instance},
    {"Instance.delete", delete_instance},
    {"Instance.changeState", change_instance_state},
    {"Instance.start", power_instance},
    {"Instance.stop", power_instance},
    {"Instance.restart", power_instance},
    {"Instance.freeze", power_instance},
    {"Instance.unfreeze", power_instance},
    {"Instance.exec", exec_instance},
    {"Project.images", navigate_home<feature::images>},
    {"Project.profiles", navigate_home<feature::profiles>},
    {"Project.networks", navigate_home<feature::networks>},
    {"Project.pools", navigate},
    {"Instance.consoleLog", console_log},
    {"Instance.clearConsoleLog", clear_console_log},
    {"Instance.logs", list_logs},
    {"Instance.readLog", read_log},
    {"Instance.files", navigate},
    {"Files.view", view_file},
    {"Files.read", read_file},
    {"Files.write", write_file},
    {"Files.makeDirectory", make_directory},
    {"Files.makeLink", make_link},
    {"Files.remove", remove_file},
    {"Images.list", list_images},
    {"Images.get", navigate},
    {"Images.import", import_image_},
    {"Images.aliases", list_aliases},
    {"Images.alias", navigate},
    {"Images.createAlias", create_alias},
    {"Image.view", view_image},
    {"Image.update", update_image_},
    {"Image.delete", delete_image_},
    {"Image.export", export_image},
    {"Alias.view", view_alias},
    {"Alias.update", update_alias},
    {"Alias.rename", rename_alias},
    {"Alias.delete", delete_alias},
    {"Profiles.list", list_profiles},
    {"Profiles.get", navigate},
    {"Profiles.create", create_profile},
    {"Profile.view", view_profile},
    {"Profile.update", update_profile},
    {"Profile.rename", rename_profile},
    {"Profile.delete", delete_profile},
    {"Networks.list", list_networks},
    {"Networks.get", navigate},
    {"Networks.create", create_network},
    {"Network.view", view_network},
    {"Network.update", update_network},
    {"Network.rename", rename_network},
    {"Network.delete", delete_network},
    {"Network.leases", network_leases},
    {"Network.state", network_state},
    {"Pools.list", list_pools},
    {"Pools.get", navigate},
    {"Pools.create", create_pool},
    {"Pool.view", view_pool},
    {"Pool.update", update_pool},
    {"Pool.delete", delete_pool},
    {"Pool.resources", pool_resources},
    {"Pool.volumes", list_volumes},
    {"Pool.volume", navigate},
    {"Volume.view", view_volume},
    {"Volume.state", volume_state},
};

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
