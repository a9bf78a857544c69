#include "actors/instance.hpp"
#include "actors/operation_record.hpp"
#include "gateway/rest/routes.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace troupe {
namespace {

using change_message = message<schema::ChangeInstanceState>;

struct bulk_action {
  std::string_view action, description;
  std::vector<instance_state> from; // whom it is about
};

const bulk_action* find_action(std::string_view action) {
  using state = instance_state;
  static const bulk_action all[] = {
      {"start", "Starting instances", {state::STOPPED, state::FROZEN}},
      {"stop", "Stopping instances", {state::RUNNING, state::FROZEN, state::STARTING}},
      {"restart", "Restarting instances", {state::RUNNING}},
      {"freeze", "Freezing instances", {state::RUNNING}},
      {"unfreeze", "Unfreezing instances", {state::FROZEN}},
  };
  auto at = std::find_if(std::begin(all), std::end(all), [&](auto& one) { return one.action == action; });
  return at == std::end(all) ? nullptr : at;
}

std::vector<std::string> whom(const snapshot& records, const std::string& project, const bulk_action& what) {
  std::vector<std::string> names;
  records.scan(table::instances, project + "/", [&](std::string_view key, std::string_view) {
    auto status = load<schema::InstanceStatus>(records, table::statuses, key);
    auto state = status ? status->read([](auto s) { return s.getState(); }) : instance_state::STOPPED;
    if (std::find(what.from.begin(), what.from.end(), state) != what.from.end())
      names.emplace_back(key.substr(key.find('/') + 1));
    return true;
  });
  return names;
}

/// One change of many instances: each has an operation of its own, this one ends with the last of them. In the door's
/// actor.
class bulk_change : public std::enable_shared_from_this<bulk_change> {
public:
  bulk_change(rest_request from, std::string operation, size_t count)
      : from_{std::move(from)}, operation_{std::move(operation)}, left_{count} {}
  ~bulk_change() { // also when the door's actor failed meanwhile
    bool good = failures_.empty() && left_ == 0;
    auto why = left_ > 0 ? error{fault::internal, "The change of all instances was not followed to its end"}
                         : error{fault::backend_failed, "Some instances could not be changed: " + failures_};
    caf::anon_send(from_.with().find(role::operations), finish_live{operation_, good, good ? error{} : why, {}});
  }
  bulk_change(const bulk_change&) = delete;

  void begin(const std::string& name, const change_message& change) {
    ask<operation_record>(
        from_, role::instances,
        [self = shared_from_this(), name](const outcome<operation_record>& record) {
          if (!record) return self->ended(name, record.error().message);
          self->follow(name, *record);
        },
        to_instance{from_.head->project, name}, envelope<schema::ChangeInstanceState>{change, from_.head});
  }

private:
  void follow(const std::string& name, const operation_record& begun) {
    ask<operation_record>(
        from_, role::operations,
        [self = shared_from_this(), name](const outcome<operation_record>& end) {
          self->ended(name, end ? end->read([](auto op) { return text(op.getErr()); }) : end.error().message);
        },
        await_operation{id_of(begun)});
  }
  void ended(const std::string& name, const std::string& problem) {
    --left_;
    if (!problem.empty()) failures_ += (failures_.empty() ? "" : "; ") + name + ": " + problem;
  }

  rest_request from_;
  std::string operation_;
  size_t left_;
  std::string failures_;
};

begin_live operation_of(const rest_request& from, const bulk_action& what, const std::vector<std::string>& names) {
  begin_live live;
  live.type = schema::Operation::Class::TASK;
  live.kind = "instance.all";
  live.description = what.description;
  live.head = from.head;
  std::vector<std::string> urls;
  for (auto& name : names) urls.push_back("/1.0/instances/" + name);
  if (!urls.empty()) live.resources = {{"instances", std::move(urls)}};
  return live;
}

} // namespace

void put_instances(const rest_request& from) {
  auto json = json_body(from);
  if (!json) return reply_error(from, json.error());
  if (!json->is_object() || !json->contains("state"))
    return reply_error(from, {fault::invalid, "The field \"state\" is missing"});
  auto change = message_from<schema::ChangeInstanceState>((*json)["state"]);
  if (!change) return reply_error(from, change.error());
  auto action = change->read([](schema::ChangeInstanceState::Reader c) { return text(c.getAction()); });
  auto* what = find_action(action);
  if (!what) return reply_error(from, {fault::invalid, "Unknown action: " + action});
  auto names = whom(from.with().db.read(), from.head->project, *what);
  ask<operation_record>(
      from, role::operations,
      [from, names, change = *change](const outcome<operation_record>& record) {
        if (!record) return reply_error(from, record.error());
        reply_operation(from, *record);
        auto all = std::make_shared<bulk_change>(from, id_of(*record), names.size());
        for (auto& name : names) all->begin(name, change);
      },
      operation_of(from, *what, names));
}

} // namespace troupe
