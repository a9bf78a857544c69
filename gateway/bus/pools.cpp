#include "actors/pools.hpp"
#include "gateway/bus/check.hpp"
#include "gateway/bus/methods.hpp"
#include "gateway/bus/page.hpp"
#include "gateway/volume_view.hpp"

namespace troupe::on_bus {
namespace {

message<schema::PoolSpec> pool_of(const call_ptr& c, const snapshot& records) {
  auto pool = load<schema::PoolSpec>(records, table::pools, c->at.name());
  if (!pool) refuse(fault::not_found, "Storage pool not found");
  return *pool;
}

void fill_view(bus::PoolView::Builder out, const principal& who, const snapshot& records,
               schema::PoolSpec::Reader pool) {
  copy_shown(pool, out.initSpec());
  fill_used_by(out, who, users_of_pool(records, view(pool.getName())));
}

using found_volume = std::pair<volume_record, std::vector<std::string>>; // and its users

std::vector<found_volume> volumes_of(const call_ptr& c, const snapshot& records, const std::string& type) {
  std::vector<found_volume> out;
  each_volume(records, c->at.name(), c->at.head->project, type,
              [&](const volume_record& volume, const std::vector<std::string>& users) {
                auto name = volume.read(
                    [](schema::VolumeSpec::Reader v) { return text(v.getType()) + '/' + text(v.getName()); });
                if (visible_as(c, "storage_volume")(c->at.name() + '/' + name)) out.emplace_back(volume, users);
              });
  return out;
}

void fill_view(bus::VolumeView::Builder out, const principal& who, const found_volume& volume) {
  volume.first.read([&](auto v) { copy_shown(v, out.initSpec()); });
  fill_used_by(out, who, volume.second);
}

// A volume's names: pool, type, name.
found_volume volume_at(const call_ptr& c, const snapshot& records) {
  pool_of(c, records);
  for (auto& volume : volumes_of(c, records, c->at.name(1)))
    if (volume.first.read([&](schema::VolumeSpec::Reader v) { return view(v.getName()) == c->at.name(2); }))
      return volume;
  refuse(fault::not_found, "Storage volume not found");
}

template <class Measure>
kj::Promise<void> measure_with_driver(const call_ptr& c, Measure measure) {
  return ask<driver_ptr>(c->at, role::pools, borrow_driver{c->at.name()}).then([c, measure](driver_ptr&& driver) {
    return reply_from_blocking_thread(c, [driver, measure] { return measure(*driver); });
  });
}

} // namespace

kj::Promise<void> list_pools(const call_ptr& c) {
  auto fill_pool = [head = c->at.head](bus::PoolView::Builder out, const snapshot& records,
                                       schema::PoolSpec::Reader pool) { fill_view(out, head->who, records, pool); };
  return reply_page<bus::Pools::ListResults, schema::PoolSpec>(c, c->params<bus::Page>(), table::pools, "", fill_pool);
}

kj::Promise<void> create_pool(const call_ptr& c) {
  auto params = c->params<schema::PoolsPost>();
  return begin(c, c->at.below(text(params.getName())), role::pools,
               envelope<schema::PoolsPost>{copy_of<schema::PoolsPost>(params), c->at.head});
}

kj::Promise<void> view_pool(const call_ptr& c) {
  auto records = c->with().db.read();
  auto pool = pool_of(c, records);
  auto results = c->results<bus::PoolView>();
  pool.read([&](auto p) { fill_view(results, c->at.head->who, records, p); });
  results.setEtag(etag_of(pool.bytes()));
  return kj::READY_NOW;
}

kj::Promise<void> update_pool(const call_ptr& c) {
  auto params = c->params<bus::Pool::UpdateParams>();
  auto guard = params.getGuard();
  return begin(c, std::nullopt, role::pools,
               troupe::update_pool{c->at.name(),
                                   {copy_of<schema::PoolPut>(params.getBody()), c->at.head},
                                   text(guard.getEtag()),
                                   guard.getPatch()});
}

kj::Promise<void> delete_pool(const call_ptr& c) {
  return begin(c, std::nullopt, role::pools, troupe::delete_pool{c->at.name(), c->at.head});
}

kj::Promise<void> pool_resources(const call_ptr& c) { return measure_with_driver(c, measure_pool); }

kj::Promise<void> list_volumes(const call_ptr& c) {
  auto records = c->with().db.read();
  pool_of(c, records);
  auto found = volumes_of(c, records, text(c->params<bus::Pool::VolumesParams>().getType()));
  auto items = c->results<bus::Pool::VolumesResults>().initItems(static_cast<unsigned>(found.size()));
  for (unsigned i = 0; i < found.size(); ++i) fill_view(items[i], c->at.head->who, found[i]);
  return kj::READY_NOW;
}

kj::Promise<void> view_volume(const call_ptr& c) {
  auto volume = volume_at(c, c->with().db.read());
  auto results = c->results<bus::VolumeView>();
  fill_view(results, c->at.head->who, volume);
  results.setEtag(etag_of(volume.first.bytes()));
  return kj::READY_NOW;
}

kj::Promise<void> volume_state(const call_ptr& c) {
  auto records = c->with().db.read();
  volume_at(c, records);
  auto id = volume_of(records, c->at.head->project, c->at.name(1), c->at.name(2));
  return measure_with_driver(c, [id](storage_driver& driver) { return measure_volume(driver, id); });
}

} // namespace troupe::on_bus
