#include "gateway/exec_request.hpp"

#include "actors/instance_lifecycle.hpp"

#include <algorithm>
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

outcome<void> check(const snapshot& records, const std::string& key, schema::ExecInstance::Reader post) {
  if (!records.get(table::instances, key)) return fail(fault::not_found, "Instance not found");
  if (post.getCommand().size() == 0) return fail(fault::invalid, "The command is missing");
  if (post.getRecordOutput()) return fail(fault::unsupported, "Recording the output is not supported yet");
  auto state = load<schema::InstanceStatus>(records, table::statuses, key)->read([](auto s) { return s.getState(); });
  if (state == instance_state::FROZEN) return fail(fault::wrong_state, "Instance is frozen");
  if (state != instance_state::RUNNING) return fail(fault::wrong_state, "Instance is not running");
  return {};
}

} // namespace

outcome<std::shared_ptr<exec_plan>> plan_exec(const snapshot& records, const std::string& key,
                                              schema::ExecInstance::Reader post) {
  if (auto good = check(records, key, post); !good) return tl::unexpected{good.error()};
  auto spec = load<schema::InstanceSpec>(records, table::instances, key);
  return plan_of(post, spec->read([&](auto s) { return expand(records, s); }));
}

begin_live exec_operation(std::shared_ptr<const header> head, const std::string& name,
                          schema::ExecInstance::Reader post) {
  begin_live live;
  live.kind = "instance.exec";
  live.description = "Executing command";
  live.entity = "instance/" + in_project(head->project, name);
  live.resources = {{"instances", {"/1.0/instances/" + name}}, {"containers", {"/1.0/containers/" + name}}};
  live.head = std::move(head);
  nlohmann::json metadata{{"command", to_vector(post.getCommand())}, {"interactive", post.getInteractive()}};
  live.metadata = metadata.dump();
  return live;
}

outcome<void> judge_exec(int status) {
  if (status == 126) return fail(fault::invalid, "Command not executable");
  if (status == 127) return fail(fault::invalid, "Command not found");
  if (status < 0) return fail(fault::backend_failed, "The command could not be run");
  return {};
}

} // namespace troupe
