#include "actors/pools.hpp"

#include "actors/ask.hpp"
#include "actors/children.hpp"
#include "actors/names.hpp"
#include "actors/operation_record.hpp"
#include "actors/project_claims.hpp"
#include "actors/volume_snapshots.hpp"

#include <caf/event_based_actor.hpp>
#include <deque>

namespace troupe {
namespace {

struct pools_data {
  services& with;
  caf::event_based_actor* self;
  std::map<std::string, caf::actor> all;
  std::map<std::string, driver_ptr> drivers;
  std::map<std::string, std::deque<std::function<void()>>> changing; // custom volume -> what waits for its change's end
  std::map<std::string, std::pair<std::string, std::string>> ends;   // operation -> the volume, and what it claimed
};
using data_ptr = std::shared_ptr<pools_data>;

caf::actor add(const data_ptr& me, const std::string& name, driver_ptr driver) {
  me->drivers[name] = driver;
  auto start = [&with = me->with, name, driver](caf::event_based_actor* actor) {
    return pool(actor, with, name, driver);
  };
  auto child = spawn_child(me->self, me->with, "pool", name, start);
  me->all[name] = child;
  return child;
}

void remove(const data_ptr& me, const std::string& name) {
  if (auto at = me->all.find(name); at != me->all.end()) {
    me->self->send_exit(at->second, caf::exit_reason::user_shutdown);
    me->all.erase(at);
  }
  me->drivers.erase(name);
}

void open_recorded(const data_ptr& me) {
  auto records = me->with.db.read();
  records.scan(table::pools, "", [&](std::string_view key, std::string_view bytes) {
    message<schema::PoolSpec>::from_bytes(bytes).read([&](schema::PoolSpec::Reader p) {
      if (auto driver = make_driver(me->with, std::string{key}, text(p.getDriver()), to_map(p.getConfig())))
        tell(me->self, add(me, std::string{key}, std::move(driver)), open_pool{});
      else
        log().error("Pool {}: no driver \"{}\"", key, view(p.getDriver()));
    });
    return true;
  });
}

outcome<std::shared_ptr<saga>> plan_create(const data_ptr& me, const envelope<schema::PoolsPost>& request) {
  auto records = me->with.db.read();
  return request.body.read([&](schema::PoolsPost::Reader post) -> outcome<std::shared_ptr<saga>> {
    auto name = text(post.getName()), kind = text(post.getDriver());
    if (auto good = check_plain_name("Storage pool", name); !good) return tl::unexpected{good.error()};
    if (auto good = check_text("description", view(post.getDescription())); !good) return tl::unexpected{good.error()};
    if (records.get(table::pools, name)) return fail(fault::already_exists, "The storage pool already exists");
    auto driver = make_driver(me->with, name, kind, to_map(post.getConfig()));
    if (!driver) return fail(fault::invalid, "Unknown storage driver: \"" + kind + "\"");
    auto config = driver->complete(to_map(post.getConfig()));
    if (!config) return tl::unexpected{config.error()};
    auto plan = std::make_shared<saga>();
    plan->kind = "pool.create";
    plan->description = "Creating storage pool";
    plan->head = request.head;
    plan->entity = "storage-pool/" + name;
    plan->resources = {{"storage_pools", {"/1.0/storage-pools/" + name}}};
    auto args = *config; // the step's own keys start with '@', which no config key does
    args["@pool"] = name;
    args["@driver"] = kind;
    plan->before.push_back({"pool.create", args});
    plan->commit.conditions.push_back(absent(table::pools, name));
    plan->commit.writes.push_back(
        put(table::pools, name, message<schema::PoolSpec>::make([&](schema::PoolSpec::Builder p) {
              p.setName(name);
              p.setDescription(post.getDescription());
              p.setDriver(kind);
              fill(p.initConfig(static_cast<unsigned>(config->size())), *config);
              p.setCreatedAt(now_ns());
            })));
    plan->commit.events.push_back(
        lifecycle_event(*request.head, "storage-pool", name, "storage-pool-created", "/1.0/storage-pools/" + name));
    return plan;
  });
}

outcome<std::shared_ptr<saga>> plan_delete(const data_ptr& me, const delete_pool& request) {
  auto records = me->with.db.read();
  if (!records.get(table::pools, request.pool)) return fail(fault::not_found, "Storage pool not found");
  auto users = users_of_pool(records, request.pool);
  std::erase_if(users, [](auto& url) { return url.starts_with("/1.0/images/"); });
  if (!users.empty()) return fail(fault::in_use, "The storage pool is currently in use by " + users.front());
  auto plan = std::make_shared<saga>();
  plan->kind = "pool.delete";
  plan->description = "Deleting storage pool";
  plan->head = request.head;
  plan->entity = "storage-pool/" + request.pool;
  plan->commit.conditions.push_back(unchanged(records, table::pools, request.pool));
  plan->commit.writes.push_back(erase(table::pools, request.pool));
  records.scan(table::volumes, request.pool + "/", [&](std::string_view key, std::string_view) {
    plan->commit.writes.push_back(erase(table::volumes, std::string{key}));
    return true;
  });
  plan->commit.events.push_back(lifecycle_event(*request.head, "storage-pool", request.pool, "storage-pool-deleted",
                                                "/1.0/storage-pools/" + request.pool));
  auto record = load<schema::PoolSpec>(records, table::pools, request.pool);
  auto args = record->read([](auto p) { return to_map(p.getConfig()); });
  args["@pool"] = request.pool;
  args["@driver"] = record->read([](auto p) { return text(p.getDriver()); });
  plan->after.push_back({"pool.destroy", args});
  return plan;
}

outcome<std::shared_ptr<saga>> plan_update(const data_ptr& me, const update_pool& request) {
  auto records = me->with.db.read();
  auto record = load<schema::PoolSpec>(records, table::pools, request.pool);
  if (!record) return fail(fault::not_found, "Storage pool not found");
  if (!request.etag.empty() && request.etag != etag_of(record->bytes()))
    return fail(fault::precondition, "The storage pool was changed in the meantime (ETag does not match)");
  return request.request.body.read([&](schema::PoolPut::Reader put_) -> outcome<std::shared_ptr<saga>> {
    auto config = record->read([](auto p) { return to_map(p.getConfig()); });
    auto wanted = to_map(put_.getConfig());
    if (request.patch)
      for (auto& [key, value] : config) wanted.emplace(key, value);
    std::erase_if(wanted, [](auto& entry) { return entry.second.empty(); });
    auto without_user = [](config_map map) {
      std::erase_if(map, [](auto& entry) { return entry.first.starts_with("user."); });
      return map;
    };
    if (without_user(config) != without_user(wanted))
      return fail(fault::unsupported, "Only the description and user.* keys of a storage pool can be changed yet");
    if (auto good = check_text("description", view(put_.getDescription())); !good) return tl::unexpected{good.error()};
    auto plan = std::make_shared<saga>();
    plan->kind = "pool.update";
    plan->description = "Updating storage pool";
    plan->head = request.request.head;
    plan->entity = "storage-pool/" + request.pool;
    plan->commit.conditions.push_back(unchanged(records, table::pools, request.pool));
    plan->commit.writes.push_back(put(table::pools, request.pool, changed(*record, [&](schema::PoolSpec::Builder p) {
                                        if (!request.patch || put_.hasDescription())
                                          p.setDescription(put_.getDescription());
                                        fill(p.initConfig(static_cast<unsigned>(wanted.size())), wanted);
                                      })));
    plan->commit.events.push_back(lifecycle_event(*request.request.head, "storage-pool", request.pool,
                                                  "storage-pool-updated", "/1.0/storage-pools/" + request.pool));
    return plan;
  });
}

caf::result<operation_record> begin(const data_ptr& me, outcome<std::shared_ptr<saga>> plan) {
  if (!plan) return to_caf(plan.error());
  return hand_over<operation_record>(me->self, me->with.find(role::operations), begin_saga{*plan});
}

// ---- custom volumes: one change of each after the other

void serve_next(const data_ptr& me, const std::string& volume) {
  auto at = me->changing.find(volume);
  if (at == me->changing.end()) return;
  if (at->second.empty()) {
    me->changing.erase(at);
    return;
  }
  auto next = std::move(at->second.front());
  at->second.pop_front();
  next();
}

void change_ended(const data_ptr& me, const std::string& volume, const std::string& claimant) {
  if (!claimant.empty()) me->self->send(me->with.find(role::instances), release_use{claimant});
  serve_next(me, volume);
}

void submit(const data_ptr& me, const std::shared_ptr<saga>& plan, const std::string& volume,
            const sure_promise& promise) {
  auto claimant = plan->claim ? plan->claimant : std::string{};
  auto begun = [me, volume, claimant, promise](const outcome<operation_record>& record) {
    if (record)
      me->ends.emplace(id_of(*record), std::pair{volume, claimant});
    else
      change_ended(me, volume, claimant);
    answer(promise, record);
  };
  ask<operation_record>(me->self, me->with.find(role::operations), begin_saga{plan}, begun);
}

template <class Request>
void begin_change(const data_ptr& me, const Request& request, const std::string& volume, const sure_promise& promise) {
  auto made = plan_of(me->with.db.read(), request);
  if (!made) {
    promise.deliver(to_caf(made.error()));
    return serve_next(me, volume);
  }
  auto plan = *made;
  plan->owner = me->self;
  if (!plan->claim) return submit(me, plan, volume, promise);
  auto granted = [me, plan, volume, promise](const outcome<void>& yes) {
    if (yes) return submit(me, plan, volume, promise);
    promise.deliver(to_caf(yes.error()));
    serve_next(me, volume);
  };
  ask<void>(me->self, me->with.find(role::instances), claim_use{plan->claimant, plan->claimant, *plan->claim}, granted);
}

template <class Request>
caf::result<operation_record> change_volume(const data_ptr& me, const std::string& name, const Request& request) {
  constexpr size_t waiting_most = 64;
  auto promise = promise_of(me->self);
  auto volume = request.pool + '/' + name; // of whatever project: they hardly ever meet
  auto work = [me, request, volume, promise] { begin_change(me, request, volume, promise); };
  auto [at, idle] = me->changing.try_emplace(volume);
  if (idle)
    work();
  else if (at->second.size() >= waiting_most)
    promise.deliver(to_caf({fault::busy, "Too many changes of this volume are waiting; try again"}));
  else
    at->second.push_back(work);
  return promise;
}

void on_end(const data_ptr& me, const operation_ended& over) {
  auto at = me->ends.find(over.id);
  if (at == me->ends.end()) return;
  auto [volume, claimant] = std::move(at->second);
  me->ends.erase(at);
  change_ended(me, volume, claimant);
}

// ---- steps

config_map config_of(const saga_step& step) {
  auto config = step.args;
  std::erase_if(config, [](auto& entry) { return entry.first.starts_with('@'); });
  return config;
}

// Makes or removes the pool itself; what lies in it belongs to its actor.
template <class Reply>
void change_pool(const data_ptr& me, const saga_step& step, bool make, sure_promise promise) {
  auto name = std::string{get(step.args, "@pool")};
  // The one that its actor has, if there is one: its calls wait for each other.
  auto known = me->drivers.find(name);
  auto driver = known != me->drivers.end()
                    ? known->second
                    : make_driver(me->with, name, std::string{get(step.args, "@driver")}, config_of(step));
  if (!driver) return promise.deliver(to_caf({fault::internal, "No driver for pool " + name}));
  if (!make) remove(me, name);
  on_blocking_thread(
      me->self, me->with,
      [driver, make]() -> outcome<void> {
        if (!make) return driver->destroy();
        if (auto done = driver->create(); !done) return done;
        return driver->open();
      },
      [me, promise, name, driver, make](outcome<void> done) mutable {
        if (!done) {
          promise.deliver(to_caf(done.error()));
          return;
        }
        if (make) tell(me->self, add(me, name, driver), open_pool{});
        if constexpr (std::is_same_v<Reply, step_result_ptr>)
          promise.deliver(step_result_ptr{std::make_shared<step_result>()});
        else
          promise.deliver(caf::unit);
      });
}

template <class Reply>
caf::result<Reply> change_pool_in_turn(const data_ptr& me, const std::string& operation, const saga_step& step,
                                       bool make) {
  in_turn(me->self, me->with, operation,
          [me, step, make](sure_promise promise) { change_pool<Reply>(me, step, make, promise); });
  return caf::delegated<Reply>{};
}

template <class Reply, class Request>
caf::result<Reply> to_pool(const data_ptr& me, const std::string& name, const Request& request) {
  auto at = me->all.find(name);
  if (at == me->all.end()) return to_caf({fault::not_found, "Storage pool not found"});
  return hand_over<Reply>(me->self, at->second, request);
}

} // namespace

driver_ptr make_driver(const services& with, const std::string& name, const std::string& driver,
                       const config_map& config) {
  return make_storage_driver(driver, {name, with.dir.storage_pools + "/" + name, with.dir.disks}, config);
}

caf::behavior pools(caf::event_based_actor* self, services& with) {
  auto me = std::make_shared<pools_data>(pools_data{with, self, {}, {}});
  open_recorded(me);
  end_children_with(self, [me](auto each) {
    for (auto& [name, child] : me->all) each(child);
  });
  self->set_down_handler([me](caf::down_msg& down) {
    for (auto& [name, child] : me->all)
      if (child.address() == down.source) {
        tell_of_restart(me->self, me->with, "pool", name, down);
        auto driver = me->drivers[name];
        tell(me->self, add(me, name, driver), open_pool{});
        return;
      }
  });
  return {
      [me](const envelope<schema::PoolsPost>& request) { return begin(me, plan_create(me, request)); },
      [me](const delete_pool& request) { return begin(me, plan_delete(me, request)); },
      [me](const update_pool& request) { return begin(me, plan_update(me, request)); },
      [me](const create_volume& request) {
        auto name = request.request.body.read([](auto post) { return text(post.getName()); });
        return change_volume(me, name, request);
      },
      [me](const update_volume& request) { return change_volume(me, request.name, request); },
      [me](const move_volume& request) { return change_volume(me, request.name, request); },
      [me](const delete_volume& request) { return change_volume(me, request.name, request); },
      [me](const snapshot_volume& request) { return change_volume(me, request.name, request); },
      [me](const change_volume_snapshot& request) { return change_volume(me, request.name, request); },
      [me](const operation_ended& over) { on_end(me, over); },
      [me](const locate_volume& request) { return to_pool<root_mount_ptr>(me, request.pool, request); },
      [me](const borrow_driver& request) { return to_pool<driver_ptr>(me, request.pool, request); },
      [me](const step_act& act) -> caf::result<step_result_ptr> {
        if (act.step.kind == "pool.create")
          return change_pool_in_turn<step_result_ptr>(me, act.operation, act.step, true);
        if (act.step.kind == "pool.destroy")
          return change_pool_in_turn<step_result_ptr>(me, act.operation, act.step, false);
        return to_pool<step_result_ptr>(me, std::string{get(act.step.args, "pool")}, act);
      },
      [me](const step_undo& undo) -> caf::result<caf::unit_t> {
        if (undo.step.kind == "pool.create")
          return change_pool_in_turn<caf::unit_t>(me, undo.operation, undo.step, false);
        return to_pool<caf::unit_t>(me, std::string{get(undo.step.args, "pool")}, undo);
      },
      [me](const step_interrupt& stop) {
        if (auto at = me->all.find(std::string{get(stop.step.args, "pool")}); at != me->all.end())
          me->self->send(at->second, stop);
      },
      [](resume& back) { back.run(); },
  };
}

} // namespace troupe
