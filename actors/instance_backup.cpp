#include "actors/instance_backup.hpp"

#include "actors/instance_snapshot.hpp"
#include "actors/names.hpp"
#include "actors/project_keys.hpp"
#include "actors/server_keys.hpp"
#include "backends/image/archives.hpp"
#include "backends/storage/storage_driver.hpp"
#include "runtime/uuid.hpp"

#include <algorithm>

namespace troupe {
namespace {

constexpr std::string_view prefix = "backup/";

std::string url_of(const instance_data& me, const std::string& name) { return me.url() + "/backups/" + name; }

std::shared_ptr<saga> new_saga(const instance_data& me, const std::shared_ptr<const header>& head, std::string kind,
                               std::string description, const std::string& name) {
  auto plan = std::make_shared<saga>();
  plan->kind = std::move(kind);
  plan->description = std::move(description);
  plan->head = head;
  plan->entity = "instance/" + me.id();
  plan->resources = {{"instances", {url_of_in("instances", me.project, me.name)}},
                     {"backups", {"/1.0/backups/" + name}}}; // clients cut the name off the end, or off this beginning
  plan->owner = me.self;
  return plan;
}

outcome<void> check_allowed(const snapshot& records, const instance_data& me) {
  auto rules = project_config(records, me.project);
  if (is_true(get(rules, "restricted")) && get(rules, "restricted.backups", "block") != "allow")
    return fail(fault::forbidden, "Project \"" + me.project + "\" does not allow backups");
  return {};
}

// "backup0", or the next number that is free.
std::string next_name(const snapshot& records, const instance_data& me) {
  for (uint64_t number = 0;; ++number)
    if (auto name = "backup" + std::to_string(number);
        !records.get(backups_table, backup_key(me.project, me.name, name)))
      return name;
}

// Clients of before names had rules of their own sent it with the instance's in front.
std::string name_of(const instance_data& me, std::string_view given) {
  auto front = me.name + "/";
  return std::string{given.starts_with(front) ? given.substr(front.size()) : given};
}

outcome<void> check_storage(const snapshot& records, schema::InstanceSpec::Reader is, bool optimized) {
  auto pool = load<schema::PoolSpec>(records, table::pools, view(is.getPool()));
  auto driver = pool ? pool->read([](auto p) { return text(p.getDriver()); }) : "";
  if (!optimized || driver == "btrfs") return {};
  return fail(fault::unsupported,
              "The storage driver \"" + driver + "\" has no optimized form of backups: it is for btrfs pools");
}

// Deleted, renamed or made anew while its backup was made: then there is nothing to keep.
auto still_there(const instance_data& me, uint64_t id) {
  return [key = me.id(), id](const snapshot& now) -> outcome<batch> {
    auto spec = load<schema::InstanceSpec>(now, table::instances, key);
    if (!spec || spec->read([](auto s) { return s.getId(); }) != id)
      return fail(fault::not_found, "The instance is not there any more");
    batch marks;
    marks.conditions.push_back(unchanged(now, table::instances, key));
    return marks;
  };
}

} // namespace

std::string backup_key(std::string_view project, std::string_view instance, std::string_view name) {
  return std::string{prefix} + in_project(in_project(project, instance), name);
}

std::string backup_path(const services& with, std::string_view file) {
  return with.dir.path + "/backups/" + std::string{file};
}

std::vector<backup_record> backups_of(const snapshot& records, std::string_view project, std::string_view instance) {
  std::vector<backup_record> found;
  records.scan(backups_table, backup_key(project, instance, ""), [&](std::string_view, std::string_view bytes) {
    found.push_back(backup_record::from_bytes(bytes));
    return true;
  });
  auto age = [](const backup_record& each) { return each.read([](auto b) { return b.getCreatedAt(); }); };
  std::stable_sort(found.begin(), found.end(), [&](auto& a, auto& b) { return age(a) < age(b); });
  return found;
}

outcome<std::string> chosen_compression(const snapshot& records, std::string_view project, std::string_view key,
                                        std::string_view asked) {
  std::string chosen{asked};
  if (chosen.empty()) chosen = get(project_config(records, project), key);
  if (chosen.empty()) chosen = server_text(records, key);
  if (auto good = parse_compression(chosen); !good) return tl::unexpected{good.error()};
  return chosen;
}

// The packing works on a copy, so that the instance is free for all else meanwhile, and so that what is packed is of
// one moment.
outcome<std::shared_ptr<saga>> plan_backup(const instance_data& me, const envelope<schema::BackupsPost>& request) {
  auto records = me.with.db.read();
  auto spec = load<schema::InstanceSpec>(records, table::instances, me.id());
  if (!spec) return fail(fault::not_found, "Instance not found");
  if (auto good = check_allowed(records, me); !good) return tl::unexpected{good.error()};
  if (me.is_machine()) return fail(fault::unsupported, "Virtual machines cannot be backed up yet");
  return request.body.read([&](schema::BackupsPost::Reader post) -> outcome<std::shared_ptr<saga>> {
    auto name = post.getName().size() ? name_of(me, view(post.getName())) : next_name(records, me);
    if (auto good = check_plain_name("Backup", name); !good) return tl::unexpected{good.error()};
    auto key = backup_key(me.project, me.name, name);
    if (records.get(backups_table, key)) return fail(fault::already_exists, "Backup \"" + name + "\" already exists");
    auto chosen =
        chosen_compression(records, me.project, "backups.compression_algorithm", view(post.getCompressionAlgorithm()));
    if (!chosen) return tl::unexpected{chosen.error()};
    return spec->read([&](schema::InstanceSpec::Reader is) -> outcome<std::shared_ptr<saga>> {
      if (auto good = check_storage(records, is, post.getOptimizedStorage()); !good)
        return tl::unexpected{good.error()};
      auto pool = text(is.getPool()), copy = "snapshots/" + make_uuid_v4();
      auto plan = new_saga(me, request.head, "backup.create", "Backing up instance", name);
      plan->may_cancel = true;
      plan->before.push_back({"volume.copy", {{"pool", pool}, {"from", me.volume()}, {"volume", copy}}});
      bool alone = post.getInstanceOnly() || post.getContainerOnly();
      plan->before.push_back(step_of(me, "backup.pack",
                                     {{"pool", pool},
                                      {"from", copy},
                                      {"backup", name},
                                      {"file", make_uuid_v4()},
                                      {"compression", *chosen},
                                      {"expires_at", std::to_string(post.getExpiresAt())},
                                      {"instance_only", alone ? "true" : "false"},
                                      {"optimized", post.getOptimizedStorage() ? "true" : "false"}}));
      plan->commit.conditions.push_back(absent(backups_table, key));
      plan->commit.events.push_back(
          lifecycle_event(*request.head, "instance", me.name, "instance-backup-created", url_of(me, name)));
      plan->admit = still_there(me, is.getId());
      plan->after.push_back({"volume.destroy", {{"pool", pool}, {"volume", copy}}});
      return plan;
    });
  });
}

outcome<std::shared_ptr<saga>> plan_backup_change(const instance_data& me, const change_backup& request) {
  auto records = me.with.db.read();
  auto key = backup_key(me.project, me.name, request.name);
  auto kept = load<schema::BackupSpec>(records, backups_table, key);
  if (!kept) return fail(fault::not_found, "Backup not found");
  bool rename = request.what == change_backup::verb::rename;
  auto name = rename ? name_of(me, request.new_name) : request.name;
  auto plan = new_saga(me, request.head, rename ? "backup.rename" : "backup.delete",
                       rename ? "Renaming backup" : "Deleting backup", name);
  plan->commit.conditions.push_back(unchanged(records, backups_table, key));
  plan->commit.writes.push_back(erase(backups_table, key));
  if (!rename) {
    plan->commit.events.push_back(
        lifecycle_event(*request.head, "instance", me.name, "instance-backup-deleted", url_of(me, name)));
    plan->after.push_back(
        step_of(me, "backup.forget", {{"file", kept->read([](auto b) { return text(b.getFile()); })}}));
    return plan;
  }
  if (auto good = check_plain_name("Backup", name); !good) return tl::unexpected{good.error()};
  auto to = backup_key(me.project, me.name, name);
  if (records.get(backups_table, to)) return fail(fault::already_exists, "Backup \"" + name + "\" already exists");
  plan->commit.conditions.push_back(absent(backups_table, to));
  plan->commit.writes.push_back(put(backups_table, to, changed(*kept, [&](auto b) { b.setName(name); })));
  plan->commit.events.push_back(lifecycle_event(*request.head, "instance", me.name, "instance-backup-renamed",
                                                url_of(me, name), {{"old_name", request.name}}));
  return plan;
}

void forget_backups(saga& plan, const snapshot& records, const instance_data& me) {
  for (auto& each : backups_of(records, me.project, me.name)) {
    auto [name, file] = each.read([](auto b) { return std::pair{text(b.getName()), text(b.getFile())}; });
    plan.commit.writes.push_back(erase(backups_table, backup_key(me.project, me.name, name)));
    plan.after.push_back(step_of(me, "backup.forget", {{"file", file}}));
  }
}

void move_backups(saga& plan, const snapshot& records, const instance_data& me, const std::string& project,
                  const std::string& to) {
  for (auto& each : backups_of(records, me.project, me.name)) {
    auto name = each.read([](auto b) { return text(b.getName()); });
    plan.commit.writes.push_back(erase(backups_table, backup_key(me.project, me.name, name)));
    plan.commit.writes.push_back(put(backups_table, backup_key(project, to, name), each));
  }
}

} // namespace troupe
