#include "actors/instances.hpp"
#include "gateway/backup_file.hpp"
#include "gateway/rest/all_projects.hpp"
#include "gateway/rest/instance_view.hpp"
#include "gateway/rest/lists.hpp"
#include "gateway/rest/migration.hpp"
#include "gateway/rest/query_text.hpp"
#include "gateway/rest/routes.hpp"

#include <nlohmann/json.hpp>

namespace troupe {
namespace {

to_instance target(const rest_request& from) { return {from.head->project, from.parameter(0)}; }

status_record status_in(const snapshot& records, std::string_view key) {
  return load<schema::InstanceStatus>(records, table::statuses, key).value_or(status_record{});
}

std::optional<spec_record> spec_of(const rest_request& from, const snapshot& records) {
  auto spec = load<schema::InstanceSpec>(records, table::instances, in_project(from.head->project, from.parameter(0)));
  if (!spec) reply_error(from, {fault::not_found, "Instance not found"});
  return spec;
}

// `instance-type` and the older collection names narrow a list.
bool wanted_type(const rest_request& from, schema::InstanceType type) {
  auto wanted = from.http->parameter("instance-type");
  auto& collection = from.http->segments[1];
  bool container = type == schema::InstanceType::CONTAINER;
  if (collection == "virtual-machines" || wanted == "virtual-machine") return !container;
  if (collection == "containers" || wanted == "container") return container;
  return true;
}

outcome<std::string> list_instances(const rest_request& from) {
  auto filter = list_filter::parse(from.http->parameter("filter"));
  if (!filter) return tl::unexpected{filter.error()};
  auto records = from.with().db.read();
  auto recursion = from.recursion();
  bool all = is_true(from.http->parameter("all-projects"));
  auto project = all ? std::string{} : from.head->project + "/";
  auto collection = "/1.0/" + from.http->segments[1] + "/";
  expander expand{records};
  json_list list;
  records.scan(table::instances, project, [&](std::string_view key, std::string_view bytes) {
    auto slash = key.find('/');
    entity thing{"instance", std::string{key.substr(0, slash)}, std::string{key.substr(slash + 1)}};
    if (!from.head->who.may("can_view", thing)) return true;
    if (recursion == 0 && filter->empty() && from.http->segments[1] != "virtual-machines") {
      list.url(collection, all ? with_project({thing.project, thing.name}) : thing.name);
      return true;
    }
    spec_record::from_bytes(bytes).read([&](schema::InstanceSpec::Reader spec) {
      if (!wanted_type(from, spec.getType())) return;
      auto status = status_in(records, key);
      std::string one;
      if (!filter->empty() || recursion == 1) write_instance(one, expand, spec, status);
      if (!filter->matches(one)) return;
      if (recursion == 0)
        list.url(collection, all ? with_project({thing.project, thing.name}) : thing.name);
      else if (recursion == 1)
        list.next() += one;
      else
        write_instance_full(list.next(), from.with(), expand, spec, status);
    });
    return true;
  });
  return std::move(list).take();
}

message<schema::UpdateInstance> with_conditions(const message<schema::UpdateInstance>& body, const std::string& etag,
                                                const std::vector<std::string>* given) {
  if (etag.empty() && !given) return body;
  return changed(body, [&](schema::UpdateInstance::Builder update) {
    update.setEtag(etag);
    if (given) fill(update.initGiven(static_cast<unsigned>(given->size())), *given);
  });
}

// What GET shows beside what can be set: clients such as pylxd send all of it back.
constexpr const char* shown_only[] = {
    "backups", "created_at", "expanded_config", "expanded_devices", "last_used_at", "location", "name",
    "project", "snapshots",  "state",           "status",           "status_code",  "type"};

// "eth0=parent%3Dbr0%26name%3Deth1": options of devices, each device's a query of its own.
outcome<device_map> devices_of(std::string_view header) {
  device_map out;
  auto all = parse_query(header);
  if (!all) return tl::unexpected{all.error()};
  for (auto& [device, options] : *all) {
    auto changes = parse_query(options);
    if (!changes) return tl::unexpected{changes.error()};
    out[device] = std::move(*changes);
  }
  return out;
}

// A backup, with what the client wants instead of what it says.
void import_file(const rest_request& from) {
  if (!from.http->spool) return reply_error(from, {fault::invalid, "The backup is missing"});
  bool taken = from.with().blocking.submit([from] {
    auto found = read_import(std::move(from.http->spool), from.head);
    if (!found) return reply_error(from, found.error());
    found->name = from.http->header("X-LXD-name");
    found->pool = from.http->header("X-LXD-pool");
    auto devices = devices_of(from.http->header("X-LXD-devices"));
    if (!devices) return reply_error(from, devices.error());
    found->devices = std::move(*devices);
    ask_async(from, role::instances, std::move(*found));
  });
  if (!taken) reply_error(from, {fault::busy, "The server has too much to do right now; try again"});
}

outcome<message<schema::UpdateInstance>> wanted_of(const rest_request& from) {
  auto json = json_body(from);
  if (!json) return tl::unexpected{json.error()};
  if (json->is_object())
    for (auto field : shown_only) json->erase(field);
  return message_from<schema::UpdateInstance>(*json);
}

} // namespace

void get_instances(const rest_request& from) {
  reply_from_blocking_thread(from, [from] { return list_instances(from); });
}

void post_instances(const rest_request& from) {
  if (from.http->header("Content-Type") == "application/octet-stream") return import_file(from);
  auto body = body_of<schema::CreateInstance>(from);
  if (!body) return reply_error(from, body.error());
  if (body->read([](auto post) { return view(post.getSource().getType()) == "migration"; }))
    return receive_migration(from, *body);
  ask_async(from, role::instances, envelope<schema::CreateInstance>{*body, from.head});
}

void get_instance(const rest_request& from) {
  if (from.recursion() > 0)
    return reply_from_blocking_thread(from, [from]() -> outcome<std::string> {
      auto records = from.with().db.read();
      auto key = in_project(from.head->project, from.parameter(0));
      auto spec = load<schema::InstanceSpec>(records, table::instances, key);
      if (!spec) return fail(fault::not_found, "Instance not found");
      std::string out;
      expander expand{records};
      spec->read([&](auto s) { write_instance_full(out, from.with(), expand, s, status_in(records, key)); });
      return out;
    });
  auto records = from.with().db.read();
  auto spec = spec_of(from, records);
  if (!spec) return;
  std::string out;
  expander expand{records};
  spec->read([&](auto s) {
    write_instance(out, expand, s, status_in(records, in_project(from.head->project, from.parameter(0))));
  });
  reply_sync(from, out, etag_of(spec->bytes()));
}

void put_instance(const rest_request& from) {
  auto body = wanted_of(from);
  if (!body) return reply_error(from, body.error());
  ask_async(from, role::instances, target(from),
            envelope<schema::UpdateInstance>{with_conditions(*body, from.etag(), nullptr), from.head});
}

void patch_instance(const rest_request& from) {
  auto given = given_fields(from);
  if (!given) return reply_error(from, given.error());
  auto body = body_of<schema::UpdateInstance>(from);
  if (!body) return reply_error(from, body.error());
  ask_sync(from, role::instances, "", target(from),
           envelope<schema::UpdateInstance>{with_conditions(*body, from.etag(), &*given), from.head});
}

void post_instance(const rest_request& from) {
  auto body = body_of<schema::RenameInstance>(from);
  if (!body) return reply_error(from, body.error());
  if (body->read(asks_to_send))
    return body->read([&](schema::RenameInstance::Reader post) { send_migration(from, post); });
  ask_async(from, role::instances, target(from), envelope<schema::RenameInstance>{*body, from.head});
}

void post_rebuild(const rest_request& from) {
  auto body = body_of<schema::RebuildInstance>(from);
  if (!body) return reply_error(from, body.error());
  ask_async(from, role::instances, target(from), envelope<schema::RebuildInstance>{*body, from.head});
}

void delete_instance_(const rest_request& from) {
  ask_async(from, role::instances, target(from), delete_instance{from.head});
}

void get_instance_state(const rest_request& from) {
  reply_from_blocking_thread(from, [from]() -> outcome<std::string> {
    auto records = from.with().db.read();
    auto key = in_project(from.head->project, from.parameter(0));
    auto spec = load<schema::InstanceSpec>(records, table::instances, key);
    if (!spec) return fail(fault::not_found, "Instance not found");
    expander expand{records};
    return to_json(spec->read([&](auto s) { return measure_state(from.with(), expand, s, status_in(records, key)); }));
  });
}

void put_instance_state(const rest_request& from) {
  auto body = body_of<schema::ChangeInstanceState>(from);
  if (!body) return reply_error(from, body.error());
  ask_async(from, role::instances, target(from), envelope<schema::ChangeInstanceState>{*body, from.head});
}

} // namespace troupe
