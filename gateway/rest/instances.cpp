#include "actors/instances.hpp"
#include "gateway/rest/instance_view.hpp"
#include "gateway/rest/lists.hpp"
#include "gateway/rest/routes.hpp"

#include <nlohmann/json.hpp>

#include <fcntl.h>
#include <filesystem>
#include <sys/stat.h>

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
  auto project = is_true(from.http->parameter("all-projects")) ? std::string{} : from.head->project + "/";
  auto collection = "/1.0/" + from.http->segments[1] + "/";
  expander expand{records};
  json_list list;
  records.scan(table::instances, project, [&](std::string_view key, std::string_view bytes) {
    auto slash = key.find('/');
    entity thing{"instance", std::string{key.substr(0, slash)}, std::string{key.substr(slash + 1)}};
    if (!from.head->who.may("can_view", thing)) return true;
    if (recursion == 0 && filter->empty() && from.http->segments[1] != "virtual-machines") {
      list.url(collection, key.substr(key.find('/') + 1));
      return true;
    }
    spec_record::from_bytes(bytes).read([&](schema::InstanceSpec::Reader spec) {
      if (!wanted_type(from, spec.getType())) return;
      auto status = status_in(records, key);
      std::string one;
      if (!filter->empty() || recursion == 1) write_instance(one, expand, spec, status);
      if (!filter->matches(one)) return;
      if (recursion == 0)
        list.url(collection, view(spec.getName()));
      else if (recursion == 1)
        list.next() += one;
      else
        write_instance_full(list.next(), from.with(), expand, spec, status);
    });
    return true;
  });
  return std::move(list).take();
}

// Every state change of a bulk request is one ordinary request; the answer is the last one's operation.
void change_all(const rest_request& from, const message<schema::ChangeInstanceState>& change) {
  auto records = from.with().db.read();
  std::vector<std::string> names;
  bool start = change.read([](auto c) { return view(c.getAction()) == "start"; });
  records.scan(table::instances, from.head->project + "/", [&](std::string_view key, std::string_view) {
    auto state = status_in(records, key).read([](auto s) { return s.getState(); });
    if ((state == instance_state::STOPPED) == start) names.emplace_back(key.substr(key.find('/') + 1));
    return true;
  });
  if (names.empty()) return reply_error(from, {fault::not_found, "No instance is in a state for that"});
  for (size_t i = 0; i + 1 < names.size(); ++i)
    ask<operation_record>(
        from, role::instances, [](const outcome<operation_record>&) {}, to_instance{from.head->project, names[i]},
        envelope<schema::ChangeInstanceState>{change, from.head});
  ask_async(from, role::instances, to_instance{from.head->project, names.back()},
            envelope<schema::ChangeInstanceState>{change, from.head});
}

message<schema::UpdateInstance> with_conditions(const message<schema::UpdateInstance>& body, const std::string& etag,
                                                const std::vector<std::string>* given) {
  if (etag.empty() && !given) return body;
  return changed(body, [&](schema::UpdateInstance::Builder update) {
    update.setEtag(etag);
    if (given) fill(update.initGiven(static_cast<unsigned>(given->size())), *given);
  });
}

std::string log_dir(const rest_request& from) {
  return from.with().dir.logs + "/" + instance_key(from.head->project, from.parameter(0));
}

} // namespace

void get_instances(const rest_request& from) {
  reply_from_blocking_thread(from, [from] { return list_instances(from); });
}

void post_instances(const rest_request& from) {
  if (from.http->header("Content-Type") == "application/octet-stream")
    return reply_error(from, {fault::unsupported, "Importing backups is not supported yet"});
  auto body = body_of<schema::CreateInstance>(from);
  if (!body) return reply_error(from, body.error());
  ask_async(from, role::instances, envelope<schema::CreateInstance>{*body, from.head});
}

void put_instances(const rest_request& from) {
  auto json = json_body(from);
  if (!json) return reply_error(from, json.error());
  if (!json->is_object() || !json->contains("state"))
    return reply_error(from, {fault::invalid, "The field \"state\" is missing"});
  auto change = message_from<schema::ChangeInstanceState>((*json)["state"]);
  if (!change) return reply_error(from, change.error());
  change_all(from, *change);
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
  auto body = body_of<schema::UpdateInstance>(from);
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
  ask_async(from, role::instances, target(from), envelope<schema::RenameInstance>{*body, from.head});
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

namespace {

void console_log(const rest_request& from, bool clear) {
  auto records = from.with().db.read();
  if (!spec_of(from, records)) return;
  auto leader =
      status_in(records, in_project(from.head->project, from.parameter(0))).read([](auto s) { return s.getLeader(); });
  bool taken = from.with().blocking.submit([from, clear, leader] {
    auto key = instance_key(from.head->project, from.parameter(0));
    outcome<std::string> text = leader > 0 ? from.with().containers.console_log(key, clear) : outcome<std::string>{""};
    if (!text) return reply_error(from, text.error());
    if (clear) return reply_sync(from, "{}");
    http_response out;
    out.headers.emplace_back("Content-Type", "application/octet-stream");
    out.body.emplace_back(std::move(*text));
    from.answer.send(std::move(out));
  });
  if (!taken) reply_error(from, {fault::busy, "The server has too much to do right now; try again"});
}

} // namespace

void get_instance_console(const rest_request& from) { console_log(from, false); }
void delete_instance_console(const rest_request& from) { console_log(from, true); }

void get_instance_logs(const rest_request& from) {
  auto records = from.with().db.read();
  if (!spec_of(from, records)) return;
  reply_from_blocking_thread(from, [from]() -> outcome<std::string> {
    json_list list;
    std::error_code none;
    for (auto& entry : std::filesystem::directory_iterator{log_dir(from), none})
      list.url("/1.0/instances/" + from.parameter(0) + "/logs/", entry.path().filename().string());
    return std::move(list).take();
  });
}

void get_instance_log(const rest_request& from) {
  auto records = from.with().db.read();
  if (!spec_of(from, records)) return;
  auto& file = from.parameter(1);
  if (file.find('/') != file.npos || file.starts_with('.'))
    return reply_error(from, {fault::invalid, "Not a log file's name"});
  bool taken = from.with().blocking.submit([from] {
    unique_fd log{open((log_dir(from) + "/" + from.parameter(1)).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW)};
    struct stat info {};
    if (!log || fstat(log.get(), &info) != 0 || !S_ISREG(info.st_mode))
      return reply_error(from, {fault::not_found, "Log file not found"});
    http_response out;
    out.headers.emplace_back("Content-Type", "application/octet-stream");
    out.headers.emplace_back("Content-Disposition", "inline;filename=" + from.parameter(1));
    out.body.emplace_back(file_range{std::move(log), 0, static_cast<uint64_t>(info.st_size)});
    from.answer.send(std::move(out));
  });
  if (!taken) reply_error(from, {fault::busy, "The server has too much to do right now; try again"});
}

} // namespace troupe
