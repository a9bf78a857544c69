#include "actors/retention.hpp"

#include "gateway/bus/check.hpp"
#include "gateway/bus/methods.hpp"
#include "gateway/bus/page.hpp"

namespace troupe::on_bus {
namespace {

using verb = change_snapshot::verb;

to_instance target(const call_ptr& c) { return {c->at.head->project, c->at.name()}; }

template <class Params>
change_snapshot changing(const call_ptr& c, verb what) {
  change_snapshot request{what, c->at.head};
  request.name = text(c->params<Params>().getSnapshot());
  return request;
}

} // namespace

kj::Promise<void> list_snapshots(const call_ptr& c) {
  auto records = c->with().db.read();
  if (!records.get(table::instances, c->at.key())) refuse(fault::not_found, "Instance not found");
  auto found = snapshots_of(records, c->at.head->project, c->at.name());
  auto items = c->results<bus::Instance::SnapshotsResults>().initItems(static_cast<unsigned>(found.size()));
  for (unsigned i = 0; i < found.size(); ++i) {
    found[i].read([&](auto spec) { copy_shown(spec, items[i].initSpec()); });
    items[i].setEtag(etag_of(found[i].bytes()));
  }
  return kj::READY_NOW;
}

kj::Promise<void> take_snapshot(const call_ptr& c) {
  auto post = copy_of<schema::SnapshotsPost>(c->params<schema::SnapshotsPost>());
  return begin(c, c->at, role::instances, target(c), envelope<schema::SnapshotsPost>{post, c->at.head});
}

kj::Promise<void> restore_snapshot(const call_ptr& c) {
  auto name = c->params<bus::Instance::RestoreParams>().getSnapshot();
  if (name.size() == 0) refuse(fault::invalid, "The snapshot must be named");
  auto put = message<schema::UpdateInstance>::make([&](auto update) { update.setRestore(name); });
  return begin(c, c->at, role::instances, target(c), envelope<schema::UpdateInstance>{put, c->at.head});
}

kj::Promise<void> rename_snapshot(const call_ptr& c) {
  auto request = changing<bus::Instance::RenameSnapshotParams>(c, verb::rename);
  request.new_name = text(c->params<bus::Instance::RenameSnapshotParams>().getName());
  return begin(c, std::nullopt, role::instances, target(c), std::move(request));
}

kj::Promise<void> update_snapshot(const call_ptr& c) {
  auto params = c->params<bus::Instance::UpdateSnapshotParams>();
  auto request = changing<bus::Instance::UpdateSnapshotParams>(c, verb::update);
  request.expires_at = params.getExpiresAt();
  request.etag = text(params.getEtag());
  return begin(c, std::nullopt, role::instances, target(c), std::move(request));
}

kj::Promise<void> delete_snapshot(const call_ptr& c) {
  return begin(c, std::nullopt, role::instances, target(c),
               changing<bus::Instance::DeleteSnapshotParams>(c, verb::remove));
}

kj::Promise<void> retention_of_snapshots(const call_ptr& c) {
  auto records = c->with().db.read();
  auto spec = load<schema::InstanceSpec>(records, table::instances, c->at.key());
  if (!spec) refuse(fault::not_found, "Instance not found");
  auto params = c->params<schema::RetentionTiers>();
  retention instead{{params.getHourly(), params.getDaily(), params.getWeekly(), params.getMonthly()}};
  auto tiers = retention_of(spec->read([&](auto s) { return expand(records, s); }).config, instead);
  auto all = retain(snapshots_of(records, c->at.head->project, c->at.name()), tiers);
  auto out = c->results<bus::Instance::RetentionResults>().initSnapshots(static_cast<unsigned>(all.size()));
  for (unsigned i = 0; i < out.size(); ++i) view_of(all[i]).read([&](auto one) { out.setWithCaveats(i, one); });
  return kj::READY_NOW;
}

kj::Promise<void> prune_snapshots_(const call_ptr& c) {
  return begin(c, std::nullopt, role::instances, target(c), prune_snapshots{c->at.head});
}

} // namespace troupe::on_bus
