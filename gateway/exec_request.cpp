#include "gateway/exec_request.hpp"

#include "actors/instance_lifecycle.hpp"
#include "actors/operation_record.hpp"
#include "gateway/visible_operation.hpp"

#include <algorithm>
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

outcome<void> check(const snapshot& records, const std::string& key, schema::ExecInstance::Reader post) {
  if (!records.get(table::instances, key)) return fail(fault::not_found, "Instance not found");
  if (post.getCommand().size() == 0) return fail(fault::invalid, "The command is missing");
  if (post.getRecordOutput() && (post.getWaitForWebsocket() || post.getInteractive()))
    return fail(fault::invalid, "Only the output of a command without websockets is recorded");
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

namespace {

begin_live live_of(std::shared_ptr<const header> head, schema::InstanceType type, const std::string& name) {
  begin_live live;
  live.entity = "instance/" + in_project(head->project, name);
  live.resources = resources_of(type, head->project, name);
  live.head = std::move(head);
  return live;
}

} // namespace

begin_live console_operation(std::shared_ptr<const header> head, schema::InstanceType type, const std::string& name) {
  auto live = live_of(std::move(head), type, name);
  live.kind = "instance.console";
  live.description = "Showing console";
  return live;
}

begin_live exec_operation(std::shared_ptr<const header> head, schema::InstanceType type, const std::string& name,
                          schema::ExecInstance::Reader post) {
  auto live = live_of(std::move(head), type, name);
  if (!post.getWaitForWebsocket()) live.type = schema::Operation::Class::TASK;
  live.kind = "instance.exec";
  live.description = "Executing command";
  nlohmann::json metadata{{"command", to_vector(post.getCommand())}, {"interactive", post.getInteractive()}};
  live.metadata = metadata.dump();
  return live;
}

namespace {

nlohmann::json::binary_t binary(std::string_view bytes) {
  return nlohmann::json::binary_t{std::vector<uint8_t>(bytes.begin(), bytes.end())};
}

} // namespace

std::string note_of(const exec_facts& what) {
  nlohmann::json note{{"project", what.project},
                      {"instance", what.instance},
                      {"owner", what.owner},
                      {"output", static_cast<int>(what.output)},
                      {"interactive", what.interactive},
                      {"secrets", what.secrets}};
  note["operation"] = binary(what.operation.bytes());
  std::string out;
  nlohmann::json::to_msgpack(note, out);
  return out;
}

outcome<exec_facts> facts_in(const std::string& note) {
  try {
    auto json = nlohmann::json::from_msgpack(note);
    auto& record = json.at("operation").get_binary();
    exec_facts out{json.at("project"),     json.at("instance"),
                   json.at("owner"),       static_cast<exec_output>(json.at("output").get<int>()),
                   json.at("interactive"), json.at("secrets")};
    out.operation = operation_record::from_bytes({reinterpret_cast<const char*>(record.data()), record.size()});
    return out;
  } catch (const std::exception& broken) { // of another daemon's making
    return fail(fault::internal, std::string{"A command's note cannot be read: "} + broken.what());
  }
}

void outlive(exec_plan& plan, const exec_facts& what, const std::array<int, 3>& ends) {
  plan.operation = id_of(what.operation);
  plan.note = note_of(what);
  for (size_t i = 0; i < ends.size(); ++i)
    if (ends[i] >= 0) plan.ends[i].reset(fcntl(ends[i], F_DUPFD_CLOEXEC, 0));
}

std::optional<std::pair<uint16_t, uint16_t>> window_size_in(std::string_view control) {
  auto json = nlohmann::json::parse(control, nullptr, false);
  if (!json.is_object() || json.value("command", nlohmann::json{}) != "window-resize") return std::nullopt;
  auto args = json.find("args");
  if (args == json.end() || !args->is_object()) return std::nullopt;
  auto number = [&](const char* key) {
    auto at = args->find(key);
    bool given = at != args->end() && at->is_string();
    return given ? static_cast<uint16_t>(std::strtoul(at->get_ref<const std::string&>().c_str(), nullptr, 10))
                 : uint16_t{0};
  };
  return std::pair{number("width"), number("height")};
}

outcome<void> judge_attach(const principal& who, const outcome<operation_record>& found) {
  if (!found) return tl::unexpected{found.error()};
  return found->read([&](schema::Operation::Reader op) -> outcome<void> {
    if (!may_view(who, op)) return fail(fault::not_found, "Operation not found");
    if (view(op.getKind()) != "instance.exec") return fail(fault::unsupported, "Only commands can be attached to");
    auto name = view(op.getEntity()).substr(sizeof "instance/" - 1 + op.getProject().size() + 1);
    if (!who.may("can_exec", {"instance", text(op.getProject()), std::string{name}}))
      return fail(fault::forbidden, "not authorized");
    if (is_over(op.getState())) return fail(fault::wrong_state, "The command has ended");
    return {};
  });
}

outcome<void> judge_exec(int status) {
  if (status == 126) return fail(fault::invalid, "Command not executable");
  if (status == 127) return fail(fault::invalid, "Command not found");
  if (status < 0) return fail(fault::backend_failed, "The command could not be run");
  return {};
}

} // namespace troupe
