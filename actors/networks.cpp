#include "actors/networks.hpp"

#include "actors/ask.hpp"
#include "actors/children.hpp"
#include "actors/names.hpp"
#include "actors/network_limit.hpp"
#include "net/links.hpp"

#include <algorithm>
#include <caf/event_based_actor.hpp>

namespace troupe {
namespace {

struct networks_data {
  services& with;
  caf::event_based_actor* self;
  std::map<std::string, caf::actor> all;
};
using data_ptr = std::shared_ptr<networks_data>;

std::string key_of(std::string_view name) { return in_project("default", name); }
std::string url_of(const std::string& name) { return "/1.0/networks/" + name; }

caf::actor actor_of(const data_ptr& me, const std::string& name) {
  auto at = me->all.find(name);
  if (at != me->all.end()) return at->second;
  auto start = [&with = me->with, name](caf::event_based_actor* child) { return network(child, with, name); };
  return me->all.emplace(name, spawn_child(me->self, me->with, "network", name, start)).first->second;
}

std::vector<bridge_plan> all_plans(const services& with, const std::string& except = {}) {
  std::vector<bridge_plan> plans;
  auto records = with.db.read();
  records.scan(table::networks, "default/", [&](std::string_view, std::string_view bytes) {
    message<schema::NetworkSpec>::from_bytes(bytes).read([&](schema::NetworkSpec::Reader n) {
      auto plan = plan_bridge(text(n.getName()), to_map(n.getConfig()));
      if (plan && plan->name != except) plans.push_back(std::move(*plan));
    });
    return true;
  });
  return plans;
}

// One table for all bridges of this daemon, replaced in one transaction.
void rebuild(const data_ptr& me, std::function<void(outcome<void>)> then, const std::string& except = {}) {
  on_blocking_thread(
      me->self, me->with,
      [table = "troupe-" + me->with.dir.id, plans = all_plans(me->with, except)] {
        return apply_firewall(table, plans);
      },
      [then](outcome<void> done) {
        if (!done) log().error("The firewall could not be set: {}", done.error().message);
        then(done);
      });
}

void apply_recorded(const data_ptr& me) {
  auto plans = all_plans(me->with);
  for (auto& plan : plans) tell(me->self, actor_of(me, plan.name), apply_network{});
  if (!plans.empty()) rebuild(me, [](outcome<void>) {});
}

std::shared_ptr<saga> new_saga(std::shared_ptr<const header> head, const std::string& name, std::string kind,
                               std::string description) {
  auto plan = std::make_shared<saga>();
  plan->kind = std::move(kind);
  plan->description = std::move(description);
  plan->head = std::move(head);
  plan->entity = "network/" + key_of(name);
  plan->resources = {{"networks", {url_of(name)}}};
  return plan;
}

std::vector<std::string> taken_subnets(const services& with, const std::string& except = {}) {
  std::vector<std::string> out;
  for (auto& plan : all_plans(with, except))
    for (auto& subnet : {plan.ipv4, plan.ipv6})
      if (!subnet.empty()) out.push_back(subnet);
  return out;
}

// What a project has of its own are no bridges, and there is nothing else.
outcome<void> check_project(const header& head) {
  if (head.project == "default") return {};
  return fail(fault::not_found, "Network not found");
}

outcome<void> check_network_name(const services& with, const std::string& name) {
  if (auto good = check_plain_name("Network", name); !good) return good;
  if (name.size() > 15 || name.find(':') != name.npos)
    return fail(fault::invalid, "Network name must be an interface name of at most 15 characters");
  if (with.db.read().get(table::networks, key_of(name)))
    return fail(fault::already_exists, "The network already exists");
  if (get_link(name))
    return fail(fault::already_exists, "Network interface \"" + name + "\" already exists on the host");
  return {};
}

outcome<std::shared_ptr<saga>> plan_create(const data_ptr& me, const envelope<schema::NetworksPost>& request) {
  return request.body.read([&](schema::NetworksPost::Reader post) -> outcome<std::shared_ptr<saga>> {
    auto name = text(post.getName());
    if (request.head->project != "default")
      return fail(fault::invalid, "Networks of type \"bridge\" can only be in project \"default\": project \"" +
                                      request.head->project + "\" has networks of its own (features.networks)");
    if (post.getType().size() && view(post.getType()) != "bridge")
      return fail(fault::unsupported, "Network type \"" + text(post.getType()) + "\" is not supported yet");
    if (auto good = check_network_name(me->with, name); !good) return tl::unexpected{good.error()};
    if (auto good = check_text("description", view(post.getDescription())); !good) return tl::unexpected{good.error()};
    if (auto good = check_bridge_config(to_map(post.getConfig())); !good) return tl::unexpected{good.error()};
    auto config = complete_bridge_config(to_map(post.getConfig()), taken_subnets(me->with));
    if (!config) return tl::unexpected{config.error()};
    if (auto plan = plan_bridge(name, *config); !plan) return tl::unexpected{plan.error()};
    auto plan = new_saga(request.head, name, "network.create", "Creating network");
    plan->admit = [](const snapshot& now) { return admit_network(now, "default"); };
    if (auto good = plan->admit(me->with.db.read()); !good) return tl::unexpected{good.error()};
    plan->commit.conditions.push_back(absent(table::networks, key_of(name)));
    plan->commit.writes.push_back(
        put(table::networks, key_of(name), message<schema::NetworkSpec>::make([&](schema::NetworkSpec::Builder n) {
              n.setName(name);
              n.setDescription(post.getDescription());
              n.setType("bridge");
              n.setProject("default");
              n.setCreatedAt(now_ns());
              fill(n.initConfig(static_cast<unsigned>(config->size())), *config);
            })));
    plan->commit.events.push_back(lifecycle_event(*request.head, "network", name, "network-created", url_of(name)));
    auto args = *config; // the step's own key starts with '@', which no config key does
    args["@network"] = name;
    plan->before.push_back({"network.make", args});
    plan->after.push_back({"network.apply", {{"network", name}}});
    return plan;
  });
}

outcome<std::shared_ptr<saga>> plan_delete(const data_ptr& me, const delete_network& request) {
  if (auto good = check_project(*request.head); !good) return tl::unexpected{good.error()};
  auto records = me->with.db.read();
  if (!records.get(table::networks, key_of(request.network))) return fail(fault::not_found, "Network not found");
  if (auto users = users_of_network(records, request.network); !users.empty())
    return fail(fault::in_use, "The network is currently in use by " + users.front());
  auto plan = new_saga(request.head, request.network, "network.delete", "Deleting network");
  plan->commit.conditions.push_back(unchanged(records, table::networks, key_of(request.network)));
  plan->commit.writes.push_back(erase(table::networks, key_of(request.network)));
  plan->commit.events.push_back(
      lifecycle_event(*request.head, "network", request.network, "network-deleted", url_of(request.network)));
  plan->after.push_back({"network.remove", {{"network", request.network}}});
  return plan;
}

outcome<std::shared_ptr<saga>> plan_update(const data_ptr& me, const update_network& request) {
  if (auto good = check_project(*request.request.head); !good) return tl::unexpected{good.error()};
  auto records = me->with.db.read();
  auto record = load<schema::NetworkSpec>(records, table::networks, key_of(request.network));
  if (!record) return fail(fault::not_found, "Network not found");
  if (!request.etag.empty() && request.etag != etag_of(record->bytes()))
    return fail(fault::precondition, "The network was changed in the meantime (ETag does not match)");
  return request.request.body.read([&](schema::NetworkPut::Reader put_) -> outcome<std::shared_ptr<saga>> {
    auto wanted = to_map(put_.getConfig());
    if (request.patch)
      for (auto& [key, value] : record->read([](auto n) { return to_map(n.getConfig()); })) wanted.emplace(key, value);
    std::erase_if(wanted, [](auto& entry) { return entry.second.empty(); });
    if (auto good = check_text("description", view(put_.getDescription())); !good) return tl::unexpected{good.error()};
    if (auto good = check_bridge_config(wanted); !good) return tl::unexpected{good.error()};
    // "auto" is worked out now; what is not named stays unset, unlike at creation.
    for (auto key : {"ipv4.address", "ipv6.address"})
      if (!wanted.count(key)) wanted[key] = "none";
    auto config = complete_bridge_config(wanted, taken_subnets(me->with, request.network));
    if (!config) return tl::unexpected{config.error()};
    if (auto good = plan_bridge(request.network, *config); !good) return tl::unexpected{good.error()};
    auto plan = new_saga(request.request.head, request.network, "network.update", "Updating network");
    plan->commit.conditions.push_back(unchanged(records, table::networks, key_of(request.network)));
    plan->commit.writes.push_back(
        put(table::networks, key_of(request.network), changed(*record, [&](schema::NetworkSpec::Builder n) {
              if (!request.patch || put_.hasDescription()) n.setDescription(put_.getDescription());
              fill(n.initConfig(static_cast<unsigned>(config->size())), *config);
            })));
    plan->commit.events.push_back(
        lifecycle_event(*request.request.head, "network", request.network, "network-updated", url_of(request.network)));
    plan->after.push_back({"network.apply", {{"network", request.network}}});
    return plan;
  });
}

outcome<std::shared_ptr<saga>> plan_rename(const data_ptr& me, const rename_network& request) {
  if (auto good = check_project(*request.head); !good) return tl::unexpected{good.error()};
  auto records = me->with.db.read();
  auto record = load<schema::NetworkSpec>(records, table::networks, key_of(request.network));
  if (!record) return fail(fault::not_found, "Network not found");
  if (auto good = check_network_name(me->with, request.to); !good) return tl::unexpected{good.error()};
  if (auto users = users_of_network(records, request.network); !users.empty())
    return fail(fault::in_use, "The network is currently in use by " + users.front());
  auto plan = new_saga(request.head, request.to, "network.rename", "Renaming network");
  plan->commit.conditions = {unchanged(records, table::networks, key_of(request.network)),
                             absent(table::networks, key_of(request.to))};
  plan->commit.writes = {erase(table::networks, key_of(request.network)),
                         put(table::networks, key_of(request.to),
                             changed(*record, [&](schema::NetworkSpec::Builder n) { n.setName(request.to); }))};
  plan->commit.events.push_back(lifecycle_event(*request.head, "network", request.to, "network-renamed",
                                                url_of(request.to), {{"old_name", request.network}}));
  plan->after = {{"network.remove", {{"network", request.network}}}, {"network.apply", {{"network", request.to}}}};
  return plan;
}

caf::result<operation_record> begin(const data_ptr& me, outcome<std::shared_ptr<saga>> plan) {
  if (!plan) return to_caf(plan.error());
  return hand_over<operation_record>(me->self, me->with.find(role::operations), begin_saga{*plan});
}

void forget_actor(const data_ptr& me, const std::string& name) {
  me->self->send_exit(actor_of(me, name), caf::exit_reason::user_shutdown);
  me->all.erase(name);
}

void perform(const data_ptr& me, const saga_step& step, sure_promise promise) {
  bool make = step.kind == "network.make", remove = step.kind == "network.remove";
  auto name = std::string{get(step.args, make ? "@network" : "network")};
  auto done = [me, promise, name, make, remove](const outcome<void>& applied) {
    if (!applied) return promise.deliver(to_caf(applied.error()));
    if (remove && !me->with.db.read().get(table::networks, key_of(name))) forget_actor(me, name);
    if (make) {
      promise.deliver(step_result_ptr{std::make_shared<step_result>()});
      return;
    }
    rebuild(me, [promise](outcome<void> set) {
      if (set)
        promise.deliver(step_result_ptr{std::make_shared<step_result>()});
      else
        promise.deliver(to_caf(set.error()));
    });
  };
  apply_network apply;
  if (make) {
    apply.config = step.args;
    apply.config->erase("@network");
  }
  // A network that was deleted before its application came through has nothing to apply; one that was made anew before
  // its removal came through stays.
  if (!make && remove == me->with.db.read().get(table::networks, key_of(name)).has_value())
    done({});
  else if (remove)
    ask<void>(me->self, actor_of(me, name), take_down_network{}, done);
  else
    ask<void>(me->self, actor_of(me, name), apply, done);
}

void take_back(const data_ptr& me, const saga_step& step, sure_promise promise) {
  if (step.kind != "network.make") return promise.deliver(caf::unit);
  auto name = std::string{get(step.args, "@network")};
  ask<void>(me->self, actor_of(me, name), take_down_network{}, [me, promise, name](const outcome<void>& done) {
    if (done) forget_actor(me, name);
    answer(promise, done);
  });
}

// An instance does not say which networks it was on: each network looks for its host entries.
caf::result<caf::unit_t> forget_everywhere(const data_ptr& me, const forget_host& request) {
  if (me->all.empty()) return caf::unit;
  auto promise = promise_of(me->self);
  auto left = std::make_shared<size_t>(me->all.size());
  auto one_done = [promise, left](const outcome<void>&) {
    if (--*left == 0) promise.deliver(caf::unit);
  };
  for (auto& [name, child] : me->all) ask<void>(me->self, child, request, one_done);
  return promise;
}

void child_down(const data_ptr& me, const caf::down_msg& down) {
  auto is_it = [&](auto& entry) { return entry.second.address() == down.source; };
  auto at = std::find_if(me->all.begin(), me->all.end(), is_it);
  if (at == me->all.end()) return;
  auto name = at->first;
  me->all.erase(at);
  if (!has_failed(down)) return;
  tell_of_restart(me->self, me->with, "network", name, down);
  apply_recorded(me);
}

} // namespace

caf::behavior networks(caf::event_based_actor* self, services& with) {
  auto me = std::make_shared<networks_data>(networks_data{with, self, {}});
  apply_recorded(me);
  end_children_with(self, [me](auto each) {
    for (auto& [name, child] : me->all) each(child);
  });
  self->set_down_handler([me](caf::down_msg& down) { child_down(me, down); });
  return {
      [me](const envelope<schema::NetworksPost>& request) { return begin(me, plan_create(me, request)); },
      [me](const update_network& request) { return begin(me, plan_update(me, request)); },
      [me](const delete_network& request) { return begin(me, plan_delete(me, request)); },
      [me](const rename_network& request) { return begin(me, plan_rename(me, request)); },
      [me](const announce_host& request) -> caf::result<caf::unit_t> {
        return hand_over<caf::unit_t>(me->self, actor_of(me, request.network), request);
      },
      [me](const forget_host& request) { return forget_everywhere(me, request); },
      [me](const step_act& act) {
        return in_turn(me->self, me->with, act.operation,
                       [me, step = act.step](sure_promise promise) { perform(me, step, promise); });
      },
      [me](const step_undo& undo) {
        return in_turn(me->self, me->with, undo.operation,
                       [me, step = undo.step](sure_promise promise) { take_back(me, step, promise); });
      },
      [](resume& back) { back.run(); },
  };
}

} // namespace troupe
