#include "actors/instance_admission.hpp"
#include "actors/instance_backup.hpp"
#include "actors/instance_copy.hpp"
#include "actors/names.hpp"
#include "actors/project_keys.hpp"
#include "messages/rights.hpp"

namespace troupe {
namespace {

// Where an instance goes; what the request does not name stays as it is.
struct destination {
  std::string project, name, pool;
  std::string id() const { return in_project(project, name); }
  std::string key() const { return instance_key(project, name); }
};

struct move {
  const instance_data& me;
  const snapshot& records;
  destination from, to;
  std::vector<std::string> profiles;
  config_map config;
  device_map devices;
  std::string size;

  bool leave_snapshots = false;

  std::string source() const { return volume_word(me.type, from.key()); }
  std::string target() const { return volume_word(me.type, to.key()); }
  bool changes_pool() const { return from.pool != to.pool; }
  bool changes_project() const { return from.project != to.project; }
  bool changes_key() const { return from.id() != to.id(); }
};

outcome<void> check_destination(const move& m, const header& head) {
  if (auto good = check_instance_name(m.to.name); !good) return good;
  if (!m.changes_pool() && !m.changes_key()) return fail(fault::invalid, "The instance is there already");
  if (!m.records.get(table::pools, m.to.pool))
    return fail(fault::not_found, "Storage pool \"" + m.to.pool + "\" does not exist");
  if (m.changes_project() && (!m.records.get(table::projects, m.to.project) ||
                              !head.who.may("can_create_instances", the_project(m.to.project))))
    return fail(fault::not_found, "Project not found");
  if (m.changes_key() && m.records.get(table::instances, m.to.id()))
    return fail(fault::already_exists, "Name \"" + m.to.name + "\" already in use");
  auto home = home_of(m.records, m.to.project, feature::profiles);
  for (auto& profile : m.profiles)
    if (!m.records.get(table::profiles, in_project(home, profile)))
      return fail(fault::invalid, "Profile \"" + profile + "\" does not exist in the other project");
  return {};
}

// A volume that keeps its pool is renamed; to another pool it is copied, and the old one goes behind the commit.
void move_root(saga& plan, const move& m) {
  if (!m.changes_pool()) {
    plan.before.push_back({"volume.rename", {{"pool", m.to.pool}, {"from", m.source()}, {"to", m.target()}}});
    return;
  }
  plan.before.push_back(copy_step(m.to.pool, m.target(), m.from.pool, m.source(), m.size));
  plan.after.push_back({"volume.destroy", {{"pool", m.from.pool}, {"volume", m.source()}}});
}

void move_snapshots(saga& plan, const move& m) {
  if (m.leave_snapshots) return forget_snapshots(plan, m.records, m.me);
  for (auto& taken : snapshots_of(m.records, m.from.project, m.from.name)) {
    auto name = taken.read([](auto s) { return text(s.getName()); });
    auto record = taken;
    if (m.changes_pool()) {
      auto copy = copy_snapshot(m.records, m.to.project, m.to.pool, taken);
      plan.before.push_back(copy.step);
      plan.after.push_back({"volume.destroy", {{"pool", m.from.pool}, {"volume", volume_of(taken)}}});
      record = copy.record;
    }
    if (m.changes_key())
      plan.commit.writes.push_back(erase(table::snapshots, snapshot_key(m.from.project, m.from.name, name)));
    plan.commit.writes.push_back(put(table::snapshots, snapshot_key(m.to.project, m.to.name, name), record));
  }
}

spec_record moved_record(const move& m, const spec_record& spec) {
  return changed(spec, [&](schema::InstanceSpec::Builder b) {
    b.setName(m.to.name);
    b.setProject(m.to.project);
    b.setPool(m.to.pool);
    fill(b.initConfig(static_cast<unsigned>(m.config.size())), m.config);
    fill(b.initDevices(static_cast<unsigned>(m.devices.size())), m.devices);
  });
}

void move_records(saga& plan, const move& m, const spec_record& spec) {
  auto& commit = plan.commit;
  commit.conditions.push_back(unchanged(m.records, table::instances, m.from.id()));
  if (m.changes_key()) {
    commit.conditions.push_back(absent(table::instances, m.to.id()));
    commit.writes = {erase(table::instances, m.from.id()), erase(table::statuses, m.from.id()),
                     put(table::statuses, m.to.id(), m.me.status)};
  }
  commit.writes.push_back(put(table::instances, m.to.id(), moved_record(m, spec)));
}

// Who watches one project sees it come or go; within a project it has another name, or another pool.
void tell(saga& plan, const move& m, const header& head) {
  auto url = "/1.0/instances/" + m.to.name;
  auto& events = plan.commit.events;
  if (m.changes_project()) {
    auto arrived = head;
    arrived.project = m.to.project;
    events.push_back(lifecycle_event(arrived, "instance", m.to.name, "instance-created", url,
                                     {{"type", std::string{word_of(m.me.type)}}, {"storage-pool", m.to.pool}}));
    events.push_back(lifecycle_event(head, "instance", m.from.name, "instance-deleted", m.me.url()));
  } else if (m.changes_key()) {
    events.push_back(
        lifecycle_event(head, "instance", m.to.name, "instance-renamed", url, {{"old_name", m.from.name}}));
  } else {
    events.push_back(
        lifecycle_event(head, "instance", m.to.name, "instance-updated", url, {{"storage-pool", m.to.pool}}));
  }
}

project_use use_now(const move& m) {
  auto spec = m.me.spec();
  return !spec ? project_use{} : spec->read([&](schema::InstanceSpec::Reader is) {
    return countable_use(is.getType(), expand(m.records, is));
  });
}

// Another pool may not be able to do what its root disk wants, and may have a limit; another project asks what it takes
// of its own limits, and by its own rules.
outcome<void> judge_move(saga& plan, const move& m, schema::InstanceType type) {
  if (!m.changes_pool() && !m.changes_project()) return {};
  instance_draft draft{m.to.project, type, m.profiles, m.config, m.devices};
  auto use = judge_draft(m.records, draft);
  if (!use) return tl::unexpected{use.error()};
  if (is_limited(project_config(m.records, m.to.project))) {
    plan.claim = m.changes_project() ? *use : larger(use_now(m), *use);
    plan.claimant = m.changes_project() ? m.to.id() : m.from.id();
  }
  plan.admit = [draft, granted = plan.claim](const snapshot& now) { return admit_draft(now, draft, granted); };
  return {};
}

move read_move(const instance_data& me, const snapshot& records, const spec_record& spec,
               schema::RenameInstance::Reader post) {
  return spec.read([&](schema::InstanceSpec::Reader is) {
    move m{me, records, {me.project, me.name, text(is.getPool())}, {}, {}, {}, {}, {}};
    m.leave_snapshots = post.getInstanceOnly() || post.getContainerOnly();
    m.to = {post.getProject().size() ? text(post.getProject()) : me.project,
            post.getName().size() ? text(post.getName()) : me.name,
            post.getPool().size() ? text(post.getPool()) : m.from.pool};
    m.profiles = to_vector(is.getProfiles());
    m.config = to_map(is.getConfig());
    auto own = to_map(is.getDevices());
    m.devices = with_root_in(expand(records, m.to.project, m.profiles, m.config, own), own, m.to.pool);
    auto effective = expand(records, m.to.project, m.profiles, m.config, m.devices);
    if (auto root = root_disk(effective.devices)) m.size = get(*root, "size");
    if (m.to.name != me.name && get(m.config, "volatile.apply_template").empty())
      m.config["volatile.apply_template"] = "rename";
    return m;
  });
}

} // namespace

outcome<std::shared_ptr<saga>> plan_rename(const instance_data& me, const envelope<schema::RenameInstance>& request) {
  auto records = me.with.db.read();
  auto spec = me.spec();
  if (!spec) return fail(fault::not_found, "Instance not found");
  return request.body.read([&](schema::RenameInstance::Reader post) -> outcome<std::shared_ptr<saga>> {
    if (post.hasTarget())
      return fail(fault::unsupported, "Migrations begin over REST only: their streams are websockets");
    auto m = read_move(me, records, *spec, post);
    auto& head = *request.head;
    bool moves = m.changes_pool() || m.changes_project();
    if (!is_down(me))
      return fail(fault::wrong_state, moves ? "A running instance cannot be moved; stop it first"
                                            : "Renaming of running instance not allowed");
    if (auto good = check_destination(m, head); !good) return tl::unexpected{good.error()};
    auto plan = moves ? instance_saga(me, request.head, "instance.move", "Moving instance")
                      : instance_saga(me, request.head, "instance.rename", "Renaming instance");
    plan->resources = resources_of(me.type, m.to.project, m.to.name);
    auto type = spec->read([](auto s) { return s.getType(); });
    if (auto good = judge_move(*plan, m, type); !good) return tl::unexpected{good.error()};
    move_root(*plan, m);
    move_records(*plan, m, *spec);
    move_snapshots(*plan, m);
    tell(*plan, m, head);
    if (m.changes_key()) {
      move_backups(*plan, records, me, m.to.project, m.to.name);
      plan->after.push_back(step_of(me, "instance.forget", {{"logs_to", m.to.key()}}));
    }
    return plan;
  });
}

} // namespace troupe
