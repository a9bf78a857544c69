#include "actors/instance_receive.hpp"

#include "actors/config_keys.hpp"
#include "actors/instance_admission.hpp"
#include "actors/instance_copy.hpp"
#include "actors/instance_image.hpp"
#include "actors/names.hpp"
#include "actors/project_keys.hpp"
#include "actors/volatile_keys.hpp"
#include "messages/rights.hpp"
#include "runtime/uuid.hpp"

#include <algorithm>
#include <set>

namespace troupe {
namespace {

constexpr size_t snapshots_max = 4096;
constexpr int64_t second_ns = 1'000'000'000;

std::string name_of(const snapshot_record& each) {
  return each.read([](auto s) { return text(s.getName()); });
}

int64_t second_of(const snapshot_record& each) {
  return each.read([](auto s) { return s.getCreatedAt(); }) / second_ns;
}

bool is_same(const snapshot_record& there, const offered_snapshot& offer) {
  return name_of(there) == offer.name && second_of(there) == offer.created_at / second_ns;
}

to_instance whom_of(const saga_step& step) {
  return {std::string{get(step.args, "project")}, std::string{get(step.args, "name")}};
}

// What the sender's host decided does not count here.
config_map without_volatile(config_map config) {
  std::erase_if(config, [](auto& entry) { return entry.second.empty() || is_servers_own(entry.first); });
  return config;
}

outcome<void> check_profiles(const snapshot& records, const std::string& project,
                             const std::vector<std::string>& profiles) {
  if (auto good = check_distinct("Profile", profiles); !good) return good;
  auto home = home_of(records, project, feature::profiles);
  for (auto& profile : profiles)
    if (!records.get(table::profiles, in_project(home, profile)))
      return fail(fault::invalid, "Profile \"" + profile + "\" does not exist");
  return {};
}

outcome<snapshot_record> judge(const snapshot& records, const std::string& project, const std::string& pool,
                               const offered_snapshot& offer) {
  if (offer.stateful) return fail(fault::unsupported, "Stateful snapshots are not supported yet");
  auto config = without_volatile(offer.config);
  if (auto good = check_instance_config(config); !good) return tl::unexpected{good.error()};
  if (auto good = check_devices(offer.devices); !good) return tl::unexpected{good.error()};
  if (auto good = check_profiles(records, project, offer.profiles); !good) return tl::unexpected{good.error()};
  auto effective = expand(records, project, offer.profiles, config, offer.devices);
  auto devices = with_root_in(effective, offer.devices, pool);
  instance_draft draft{project, schema::InstanceType::CONTAINER, offer.profiles, config, devices};
  if (auto use = judge_draft(records, draft); !use) return tl::unexpected{use.error()};
  return snapshot_record::make([&](schema::SnapshotSpec::Builder s) {
    s.setName(offer.name);
    s.setArchitecture(host_architecture());
    s.setEphemeral(offer.ephemeral);
    s.setCreatedAt(offer.created_at);
    s.setLastUsedAt(offer.last_used_at);
    s.setExpiresAt(offer.expires_at);
    s.setPool(pool);
    fill(s.initProfiles(static_cast<unsigned>(offer.profiles.size())), offer.profiles);
    fill(s.initConfig(static_cast<unsigned>(config.size())), config);
    fill(s.initDevices(static_cast<unsigned>(devices.size())), devices);
  });
}

outcome<void> check_names(const std::vector<offered_snapshot>& offers) {
  if (offers.size() > snapshots_max)
    return fail(fault::too_large, "More than " + std::to_string(snapshots_max) + " snapshots are offered");
  std::set<std::string> names;
  for (auto& offer : offers) {
    if (auto good = check_plain_name("Snapshot", offer.name); !good) return good;
    if (!names.insert(offer.name).second)
      return fail(fault::invalid, "Snapshot \"" + offer.name + "\" is offered twice");
  }
  return {};
}

} // namespace

outcome<void> check_migration(schema::InstanceSource::Reader source) {
  if (source.getLive())
    return fail(fault::unsupported, "Live migration of containers is not supported; stop it, or use --stateless");
  auto mode = view(source.getMode());
  if (mode == "push") return {};
  if (mode != "pull") return fail(fault::invalid, "The mode of a migration is pull or push");
  auto secrets = to_map(source.getSecrets());
  if (!view(source.getOperation()).starts_with("https://"))
    return fail(fault::invalid, "The operation of the source must be an https:// URL");
  if (source.getCertificate().size() == 0)
    return fail(fault::invalid, "The certificate of the source is missing: nobody is trusted without");
  for (auto name : {"control", "fs"})
    if (get(secrets, name).empty())
      return fail(fault::invalid, "The secret \"" + std::string{name} + "\" of the source is missing");
  return {};
}

saga_step receive_step(const to_instance& whom, const std::string& pool, const std::string& volume,
                       const std::string& size, bool with_snapshots, const std::string& base) {
  saga_step step{
      "instance.receive",
      {{"project", whom.project}, {"name", whom.name}, {"pool", pool}, {"volume", volume}, {"series", make_uuid_v4()}}};
  if (with_snapshots) step.args.emplace("snapshots", "true");
  if (!size.empty()) step.args.emplace("size", size);
  if (!base.empty()) step.args.emplace("base", base);
  return step;
}

saga_step settle_step(const to_instance& whom, const std::string& pool,
                      const std::vector<snapshot_record>& there_before) {
  std::string volumes;
  for (auto& each : there_before) volumes += (volumes.empty() ? "" : ",") + volume_of(each);
  return {"instance.settle",
          {{"project", whom.project}, {"name", whom.name}, {"pool", pool}, {"volumes", std::move(volumes)}}};
}

// A UUID's last twelve digits count.
std::string received_prefix(const saga_step& step) { return std::string{get(step.args, "series").substr(0, 24)}; }

std::string received_volume(const saga_step& step, size_t number) {
  auto digits = std::to_string(number);
  return "snapshots/" + received_prefix(step) + std::string(12 - digits.size(), '0') + digits;
}

outcome<std::vector<snapshot_record>> judge_offer(const snapshot& records, const saga_step& step,
                                                  const std::vector<offered_snapshot>& offers) {
  std::vector<snapshot_record> taken;
  if (offers.empty()) return taken;
  auto whom = whom_of(step);
  if (auto good = check_snapshots_allowed(records, whom.project); !good) return tl::unexpected{good.error()};
  if (auto good = check_names(offers); !good) return tl::unexpected{good.error()};
  auto there = snapshots_of(records, whom.project, whom.name);
  for (auto& offer : offers) {
    if (std::any_of(there.begin(), there.end(), [&](auto& each) { return is_same(each, offer); })) continue;
    auto record = judge(records, whom.project, std::string{get(step.args, "pool")}, offer);
    if (!record) return fail(record.error().code, "Snapshot \"" + offer.name + "\": " + record.error().message);
    auto volume = received_volume(step, taken.size()).substr(std::string_view{"snapshots/"}.size());
    taken.push_back(changed(*record, [&](schema::SnapshotSpec::Builder s) { s.setVolume(volume); }));
  }
  return taken;
}

batch received_snapshots(const snapshot& records, const header& head, const saga_step& step,
                         const std::vector<snapshot_record>& taken, const std::vector<offered_snapshot>& offers) {
  batch out;
  auto whom = whom_of(step);
  auto url = "/1.0/instances/" + whom.name + "/snapshots/";
  bool with_snapshots = !get(step.args, "snapshots").empty();
  for (auto& each : snapshots_of(records, whom.project, whom.name)) {
    if (!with_snapshots || std::any_of(offers.begin(), offers.end(), [&](auto& offer) { return is_same(each, offer); }))
      continue;
    auto key = snapshot_key(whom.project, whom.name, name_of(each));
    out.conditions.push_back(unchanged(records, table::snapshots, key));
    out.writes.push_back(erase(table::snapshots, key));
    out.events.push_back(
        lifecycle_event(head, "instance", whom.name, "instance-snapshot-deleted", url + name_of(each)));
  }
  for (auto& each : taken)
    out.writes.push_back(put(table::snapshots, snapshot_key(whom.project, whom.name, name_of(each)), each));
  return out;
}

outcome<std::shared_ptr<saga>> plan_receive_again(const instance_data& me,
                                                  const envelope<schema::CreateInstance>& request) {
  return request.body.read([&](schema::CreateInstance::Reader post) -> outcome<std::shared_ptr<saga>> {
    auto source = post.getSource();
    auto begun = begin_refresh(me, request.head);
    if (!begun) return tl::unexpected{begun.error()};
    if (auto good = check_migration(source); !good) return tl::unexpected{good.error()};
    to_instance whom{me.project, me.name};
    bool with_snapshots = !source.getInstanceOnly() && !source.getContainerOnly();
    auto& plan = *begun->plan;
    plan.may_cancel = true;
    plan.before.push_back(receive_step(whom, begun->pool, begun->volume, begun->size, with_snapshots, me.key()));
    plan.after.push_back(settle_step(whom, begun->pool, snapshots_of(me.with.db.read(), me.project, me.name)));
    return begun->plan;
  });
}

} // namespace troupe
