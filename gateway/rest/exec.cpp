#include "actors/instance.hpp"
#include "actors/operation_record.hpp"
#include "gateway/rest/exec_streams.hpp"
#include "gateway/rest/live_streams.hpp"
#include "gateway/rest/routes.hpp"
#include "runtime/uuid.hpp"

#include <caf/typed_event_based_actor.hpp>
#include <fcntl.h>
#include <nlohmann/json.hpp>

namespace troupe {
namespace {

constexpr std::string_view default_path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

// What LXD puts into the environment where the client and the instance say nothing (wire-protocols section 2).
config_map environment_of(schema::ExecInstance::Reader post, const expansion& effective) {
  config_map out;
  for (auto& [key, value] : effective.config)
    if (key.starts_with("environment.")) out.insert_or_assign(key.substr(12), value);
  for (auto& [key, value] : to_map(post.getEnvironment())) out.insert_or_assign(key, value);
  out.emplace("PATH", default_path);
  if (post.getUser() == 0) {
    out.emplace("HOME", "/root");
    out.emplace("USER", "root");
  }
  out.emplace("LANG", "C.UTF-8");
  return out;
}

std::shared_ptr<exec_plan> plan_of(schema::ExecInstance::Reader post, const expansion& effective) {
  auto plan = std::make_shared<exec_plan>();
  plan->command = to_vector(post.getCommand());
  plan->environment = environment_of(post, effective);
  plan->uid = post.getUser();
  plan->gid = post.getGroup();
  plan->cwd = text(post.getCwd());
  plan->interactive = post.getInteractive();
  plan->width = static_cast<uint16_t>(std::clamp(post.getWidth(), 0, 65535));
  plan->height = static_cast<uint16_t>(std::clamp(post.getHeight(), 0, 65535));
  return plan;
}

outcome<void> check(const rest_request& from, schema::ExecInstance::Reader post, const snapshot& records) {
  auto key = in_project(from.head->project, from.parameter(0));
  if (!records.get(table::instances, key)) return fail(fault::not_found, "Instance not found");
  if (post.getCommand().size() == 0) return fail(fault::invalid, "The command is missing");
  if (post.getRecordOutput()) return fail(fault::unsupported, "Recording the output is not supported yet");
  auto state = load<schema::InstanceStatus>(records, table::statuses, key)->read([](auto s) { return s.getState(); });
  if (state == instance_state::FROZEN) return fail(fault::wrong_state, "Instance is frozen");
  if (state != instance_state::RUNNING) return fail(fault::wrong_state, "Instance is not running");
  return {};
}

begin_live operation_of(const rest_request& from, schema::ExecInstance::Reader post) {
  begin_live live;
  live.kind = "instance.exec";
  live.description = "Executing command";
  live.entity = "instance/" + in_project(from.head->project, from.parameter(0));
  live.head = from.head;
  live.resources = {{"instances", {"/1.0/instances/" + from.parameter(0)}},
                    {"containers", {"/1.0/containers/" + from.parameter(0)}}};
  nlohmann::json metadata{{"command", to_vector(post.getCommand())}, {"interactive", post.getInteractive()}};
  live.metadata = metadata.dump();
  return live;
}

std::map<std::string, std::string> make_secrets(bool interactive) {
  std::map<std::string, std::string> out{{"0", random_hex(32)}, {"control", random_hex(32)}};
  if (!interactive)
    for (auto stream : {"1", "2"}) out[stream] = random_hex(32);
  return out;
}

} // namespace

void post_exec(const rest_request& from) {
  auto body = body_of<schema::ExecInstance>(from);
  if (!body) return reply_error(from, body.error());
  body->read([&](schema::ExecInstance::Reader post) {
    auto records = from.with().db.read();
    if (auto good = check(from, post, records); !good) return reply_error(from, good.error());
    auto spec =
        load<schema::InstanceSpec>(records, table::instances, in_project(from.head->project, from.parameter(0)));
    auto plan = plan_of(post, spec->read([&](auto s) { return expand(records, s); }));
    bool sockets = post.getWaitForWebsocket(), interactive = post.getInteractive();
    ask<operation_record>(
        from, role::operations,
        [from, plan, sockets, interactive](const outcome<operation_record>& record) {
          if (!record) return reply_error(from, record.error());
          auto id = id_of(*record);
          auto streams = std::make_shared<exec_streams>(from, id, plan, sockets);
          if (!sockets) {
            reply_operation(from, *record);
            return streams->start();
          }
          auto secrets = make_secrets(interactive);
          auto required =
              interactive ? std::vector<std::string>{"0", "control"} : std::vector<std::string>{"0", "1", "2"};
          streams->expect(required);
          from.context.streams.open(id, secrets, required, streams);
          reply_operation(from, *record, nlohmann::json{{"fds", secrets}}.dump());
        },
        operation_of(from, post));
  });
}

} // namespace troupe
