#include "actors/config_keys.hpp"
#include "actors/instance.hpp"
#include "actors/instance_adapt.hpp"
#include "actors/instance_admission.hpp"
#include "actors/instance_backup.hpp"
#include "actors/instance_nics.hpp"
#include "actors/instance_snapshot.hpp"
#include "actors/names.hpp"
#include "actors/policy.hpp"
#include "actors/project_keys.hpp"
#include "actors/volatile_keys.hpp"

#include <algorithm>
#include <caf/event_based_actor.hpp>

namespace troupe {
namespace {

// What the client sent over what there is: a PUT replaces, a PATCH merges what was given.
struct wanted {
  std::string architecture, description;
  bool ephemeral = false;
  std::vector<std::string> profiles;
  config_map config;
  device_map devices;
};

wanted read_wanted(schema::InstanceSpec::Reader is, schema::UpdateInstance::Reader put) {
  auto given = to_vector(put.getGiven());
  auto has = [&](std::string_view field) {
    return !put.hasGiven() || std::find(given.begin(), given.end(), field) != given.end();
  };
  wanted out;
  out.architecture =
      has("architecture") && put.getArchitecture().size() ? text(put.getArchitecture()) : text(is.getArchitecture());
  out.description = text(has("description") ? put.getDescription() : is.getDescription());
  out.ephemeral = has("ephemeral") ? put.getEphemeral() : is.getEphemeral();
  out.profiles =
      to_vector(has("profiles") && (put.hasProfiles() || put.hasGiven()) ? put.getProfiles() : is.getProfiles());
  out.config = to_map(put.getConfig());
  out.devices = to_map(put.getDevices());
  if (put.hasGiven()) {
    auto config = to_map(is.getConfig());
    for (auto& [key, value] : out.config) config.insert_or_assign(key, value);
    auto devices = to_map(is.getDevices());
    for (auto& [name, device] : out.devices) devices.insert_or_assign(name, device);
    out.config = std::move(config);
    out.devices = std::move(devices);
  }
  // The server keeps its own state: what a client sends back of it, or makes up, is not taken, except a MAC it chooses.
  std::erase_if(out.config, [](auto& entry) { return entry.second.empty() || is_servers_own(entry.first); });
  for (auto& [key, value] : to_map(is.getConfig()))
    if (key.starts_with("volatile.")) out.config.try_emplace(key, value);
  return out;
}

outcome<void> check_wanted(const instance_data& me, const snapshot& records, schema::InstanceSpec::Reader is,
                           const wanted& to, bool down) {
  if (to.architecture != view(is.getArchitecture()))
    return fail(fault::invalid, "The architecture of an instance cannot be changed");
  if (auto good = check_text("description", to.description); !good) return good;
  if (auto good = check_instance_config(to.config); !good) return good;
  if (auto good = check_devices(to.devices); !good) return good;
  if (auto good = check_distinct("Profile", to.profiles); !good) return good;
  auto home = home_of(records, me.project, feature::profiles);
  for (auto& profile : to.profiles)
    if (!records.get(table::profiles, in_project(home, profile)))
      return fail(fault::invalid, "Profile \"" + profile + "\" does not exist");
  auto after = expand(records, me.project, to.profiles, to.config, to.devices);
  if (auto good = check_expanded(records, me.project, me.type, after); !good) return good;
  if (get(*root_disk(after.devices), "pool") != view(is.getPool()))
    return fail(fault::unsupported, "The root disk moves to another pool with the instance only (lxc move -s)");
  if (down) return {};
  return check_running_change(expand(records, is), after);
}

config_map limit_arguments(const instance_data& me, schema::InstanceSpec::Reader is, std::string_view size,
                           std::optional<std::string_view> was = {}) {
  config_map args{{"pool", text(is.getPool())}, {"volume", me.volume()}, {"size", std::string{size}}};
  if (was) args.emplace("was", *was);
  return args;
}

std::optional<saga_step> limit_at_start(const instance_data& me) {
  auto records = me.with.db.read();
  auto spec = load<schema::InstanceSpec>(records, table::instances, me.id());
  if (!spec) return std::nullopt;
  return spec->read([&](schema::InstanceSpec::Reader is) -> std::optional<saga_step> {
    auto effective = expand(records, is);
    auto root = root_disk(effective.devices);
    if (!root || get(*root, "size").empty()) return std::nullopt;
    return saga_step{"volume.limit", limit_arguments(me, is, get(*root, "size"))};
  });
}

uint32_t number_of(const config_map& args, std::string_view key, uint32_t fallback) {
  auto value = get(args, key);
  return value.empty() ? fallback : static_cast<uint32_t>(std::strtoul(std::string{value}.c_str(), nullptr, 10));
}

} // namespace

std::shared_ptr<saga> instance_saga(const instance_data& me, std::shared_ptr<const header> head, std::string kind,
                                    std::string description) {
  auto plan = std::make_shared<saga>();
  plan->kind = std::move(kind);
  plan->description = std::move(description);
  plan->head = std::move(head);
  plan->entity = "instance/" + me.id();
  plan->resources = resources_of(me.type, me.project, me.name);
  plan->owner = me.self;
  return plan;
}

bool is_down(const instance_data& me) { return me.now == instance_state::STOPPED || me.now == instance_state::ERROR; }

saga_step step_of(const instance_data& me, std::string kind, config_map args) {
  args["project"] = me.project;
  args["name"] = me.name;
  return {std::move(kind), std::move(args)};
}

// Isolated instances get ranges of their own behind the shared one; a free one is found among the records.
id_range choose_ids(const services& with, const snapshot& records, const config_map& config, std::string_view except) {
  auto all = with.ids;
  if (!is_true(get(config, "security.idmap.isolated"))) return {all.host, std::min<uint32_t>(65536, all.size)};
  auto size = number_of(config, "security.idmap.size", 65536);
  if (auto first = number_of(config, "security.idmap.base", 0); first > 0)
    return uint64_t{first} + size <= UINT32_MAX ? id_range{first, size} : id_range{};
  std::vector<std::pair<uint32_t, uint32_t>> taken;
  records.scan(table::instances, "", [&](std::string_view key, std::string_view bytes) {
    spec_record::from_bytes(bytes).read([&](schema::InstanceSpec::Reader s) {
      if (key != except && s.getIdmapBase() != all.host) taken.emplace_back(s.getIdmapBase(), s.getIdmapSize());
    });
    return true;
  });
  std::sort(taken.begin(), taken.end());
  uint64_t base = uint64_t{all.host} + 65536;
  for (auto [from, count] : taken) {
    if (base + size <= from) break;
    base = std::max<uint64_t>(base, uint64_t{from} + count);
  }
  if (size == 0 || base + size > uint64_t{all.host} + all.size) return {};
  return {static_cast<uint32_t>(base), size};
}

outcome<std::shared_ptr<saga>> plan_update(const instance_data& me, const envelope<schema::UpdateInstance>& request) {
  bool restore = request.body.read([](auto put) { return put.getRestore().size() > 0; });
  return restore ? plan_restore(me, request) : plan_change(me, request, is_down(me));
}

outcome<std::shared_ptr<saga>> plan_change(const instance_data& me, const envelope<schema::UpdateInstance>& request,
                                           bool down) {
  auto records = me.with.db.read();
  auto spec = load<schema::InstanceSpec>(records, table::instances, me.id());
  if (!spec) return fail(fault::not_found, "Instance not found");
  return request.body.read([&](schema::UpdateInstance::Reader put) {
    return spec->read([&](schema::InstanceSpec::Reader is) -> outcome<std::shared_ptr<saga>> {
      if (put.getEtag().size() && view(put.getEtag()) != etag_of(spec->bytes()))
        return fail(fault::precondition, "The instance was changed in the meantime (ETag does not match)");
      if (put.getStateful()) return fail(fault::unsupported, "Stateful instances are not supported yet");
      if (auto good = check_volatile_names(to_map(put.getConfig())); !good) return tl::unexpected{good.error()};
      auto to = read_wanted(is, put);
      if (auto good = check_wanted(me, records, is, to, down); !good) return tl::unexpected{good.error()};
      settle_volatile(me.name, to.config, expand(records, me.project, to.profiles, to.config, to.devices));
      auto after = expand(records, me.project, to.profiles, to.config, to.devices);
      instance_draft draft{me.project, is.getType(), to.profiles, to.config, to.devices};
      auto use = judge_draft(records, draft);
      if (!use) return tl::unexpected{use.error()};
      auto ids_as_before = [was = expand(records, is).config, &after](std::string_view key) {
        return get(was, key) == get(after.config, key);
      };
      id_range ids{is.getIdmapBase(), is.getIdmapSize()};
      if (!ids_as_before("security.idmap.isolated") || !ids_as_before("security.idmap.base") ||
          !ids_as_before("security.idmap.size"))
        ids = choose_ids(me.with, records, after.config, me.id());
      if (ids.size == 0) return fail(fault::too_large, "No range of host ids is free");

      auto plan = instance_saga(me, request.head, "instance.update", "Updating instance");
      auto effective = expand(records, is);
      auto had = get(*root_disk(effective.devices), "size"), size = get(*root_disk(after.devices), "size");
      if (had != size && me.is_machine() && !down)
        return fail(fault::wrong_state, "The disk of a running virtual machine does not grow; stop it first");
      if (had != size) plan->before.push_back({"volume.limit", limit_arguments(me, is, size, had)});
      if (!down) {
        plan->at_restart = changes_at_restart(expand(records, is), after);
        auto runs = live_part(effective), wanted = live_part(after);
        if (runs.devices != wanted.devices || runs.config != wanted.config)
          plan->before.push_back(step_of(me, "instance.adapt", to_arguments(wanted)));
      }
      // Who takes no more than before may go on, even where a limit was passed long ago.
      auto before = countable_use(is.getType(), expand(records, is)), most = larger(before, *use);
      if (is_limited(project_config(records, me.project)) && most != before) plan->claim = most;
      // What no rule is about need not wait for those who change rules, nor they for it.
      if (to.profiles != to_vector(is.getProfiles()) || differ_by_rule(expand(records, is), after))
        plan->admit = [draft, granted = plan->claim.value_or(before)](const snapshot& now) {
          return admit_draft(now, draft, granted);
        };
      plan->commit.conditions.push_back(unchanged(records, table::instances, me.id()));
      plan->commit.writes.push_back(
          put_record(me, changed(*spec, [&](schema::InstanceSpec::Builder b) {
                       b.setDescription(to.description);
                       b.setEphemeral(to.ephemeral);
                       b.setIdmapBase(ids.host);
                       b.setIdmapSize(ids.size);
                       fill(b.initProfiles(static_cast<unsigned>(to.profiles.size())), to.profiles);
                       fill(b.initConfig(static_cast<unsigned>(to.config.size())), to.config);
                       fill(b.initDevices(static_cast<unsigned>(to.devices.size())), to.devices);
                     })));
      plan->commit.events.push_back(lifecycle_event(*request.head, "instance", me.name, "instance-updated", me.url()));
      return plan;
    });
  });
}

write put_record(const instance_data& me, const spec_record& spec) { return put(table::instances, me.id(), spec); }

outcome<std::shared_ptr<saga>> plan_delete(const instance_data& me, const delete_instance& request) {
  auto records = me.with.db.read();
  auto spec = load<schema::InstanceSpec>(records, table::instances, me.id());
  if (!spec) return fail(fault::not_found, "Instance not found");
  if (!is_down(me)) return fail(fault::wrong_state, "Instance is running");
  auto effective = spec->read([&](auto s) { return expand(records, s); });
  if (is_true(get(effective.config, "security.protection.delete")))
    return fail(fault::forbidden, "Instance is protected from being deleted (security.protection.delete)");
  auto plan = instance_saga(me, request.head, "instance.delete", "Deleting instance");
  plan->commit.conditions.push_back(unchanged(records, table::instances, me.id()));
  plan->commit.writes = {erase(table::instances, me.id()), erase(table::statuses, me.id())};
  plan->commit.events.push_back(lifecycle_event(*request.head, "instance", me.name, "instance-deleted", me.url()));
  auto pool = spec->read([](auto s) { return text(s.getPool()); });
  plan->after.push_back({"volume.destroy", {{"pool", pool}, {"volume", me.volume()}}});
  forget_snapshots(*plan, records, me);
  forget_backups(*plan, records, me);
  plan->after.push_back(step_of(me, "instance.forget"));
  return plan;
}

outcome<std::shared_ptr<saga>> plan_state_change(const instance_data& me,
                                                 const envelope<schema::ChangeInstanceState>& request) {
  return request.body.read([&](schema::ChangeInstanceState::Reader put) -> outcome<std::shared_ptr<saga>> {
    auto action = view(put.getAction());
    if (put.getStateful()) return fail(fault::unsupported, "Stateful start and stop are not supported yet");
    struct row {
      std::string_view action;
      trigger needs;
      std::string_view description;
    };
    static constexpr row rows[] = {{"start", trigger::start, "Starting instance"},
                                   {"stop", trigger::stop, "Stopping instance"},
                                   {"restart", trigger::stop, "Restarting instance"},
                                   {"freeze", trigger::freeze, "Freezing instance"},
                                   {"unfreeze", trigger::thaw, "Unfreezing instance"}};
    auto at = std::find_if(std::begin(rows), std::end(rows), [&](auto& r) { return r.action == action; });
    if (at == std::end(rows)) return fail(fault::invalid, "Unknown action: " + std::string{action});
    auto needs = at->needs == trigger::stop && put.getForce() ? trigger::force_stop : at->needs;
    // A start of something frozen thaws it: that is how the stock client resumes.
    bool resume = action == "start" && me.now == instance_state::FROZEN;
    bool early_kill = needs == trigger::force_stop && me.now == instance_state::STARTING;
    if (action == "stop" && me.now == instance_state::STOPPED)
      return fail(fault::wrong_state, "The instance is already stopped");
    if (!resume && !early_kill && !next(me.now, needs))
      return fail(fault::wrong_state, std::string{words_of(me.now).refusal});

    auto spec = me.spec();
    auto records = me.with.db.read();
    if (action == "start" && !resume && spec &&
        is_true(get(spec->read([&](auto s) { return expand(records, s); }).config, "security.protection.start")))
      return fail(fault::forbidden, "Instance is protected from being started (security.protection.start)");
    auto plan = instance_saga(me, request.head, "instance." + std::string{action}, std::string{at->description});
    config_map halt{{"force", put.getForce() ? "true" : "false"},
                    {"timeout", std::to_string(put.getTimeout())},
                    {"action", std::string{action}}};
    // A profile may have got another size meanwhile.
    if (auto limit = limit_at_start(me); limit && !resume && (action == "start" || action == "restart"))
      plan->before.push_back(*limit);
    if (resume || action == "unfreeze")
      plan->before.push_back(step_of(me, "instance.thaw"));
    else if (action == "start")
      plan->before.push_back(step_of(me, "instance.boot", {{"action", "start"}}));
    else if (action == "freeze")
      plan->before.push_back(step_of(me, "instance.freeze"));
    else
      plan->before.push_back(step_of(me, "instance.halt", halt));
    if (action == "restart") plan->before.push_back(step_of(me, "instance.boot", {{"action", "restart"}}));
    return plan;
  });
}

} // namespace troupe
