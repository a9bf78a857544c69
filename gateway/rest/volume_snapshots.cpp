#include "gateway/rest/volume_snapshots.hpp"

#include "actors/project_keys.hpp"
#include "actors/volume_snapshots.hpp"
#include "gateway/rest/lists.hpp"
#include "gateway/rest/routes.hpp"

namespace troupe {
namespace {

using verb = change_volume_snapshot::verb;

// Those of instances are at the instances; images have none.
bool is_custom(const rest_request& from) {
  if (from.parameter(1) == "custom") return true;
  reply_error(from, {fault::invalid, "Only custom volumes have snapshots here"});
  return false;
}

volume_place place_in(const rest_request& from, const snapshot& records) {
  return {home_of(records, from.head->project, feature::volumes), from.parameter(0), from.parameter(2)};
}

void change(const rest_request& from, change_volume_snapshot what) {
  what.head = from.head;
  what.pool = from.parameter(0);
  what.name = from.parameter(2);
  what.snapshot = from.parameter(3);
  if (what.what == verb::update)
    ask_sync(from, role::pools, "", std::move(what));
  else
    ask_async(from, role::pools, std::move(what));
}

void edit(const rest_request& from, bool patch) {
  if (!is_custom(from)) return;
  auto body = body_of<schema::VolumeSnapshotPut>(from);
  if (!body) return reply_error(from, body.error());
  change_volume_snapshot what{verb::update};
  what.etag = from.etag();
  body->read([&](schema::VolumeSnapshotPut::Reader put) {
    if (!patch || put.hasDescription()) what.description = text(put.getDescription());
    if (put.getExpiresAt() != -1)
      what.expires_at = put.getExpiresAt();
    else if (!patch)
      what.expires_at = 0;
  });
  change(from, std::move(what));
}

} // namespace

void get_volume_snapshots(const rest_request& from) {
  if (!is_custom(from)) return;
  auto records = from.with().db.read();
  auto of = place_in(from, records);
  if (!records.get(table::custom_volumes, of.key()))
    return reply_error(from, {fault::not_found, "Storage volume not found"});
  json_list list;
  for (auto& taken : snapshots_of(records, of))
    if (from.recursion() == 0)
      list.url("/1.0/storage-pools/" + of.pool + "/volumes/custom/" + of.name + "/snapshots/",
               taken.read([](auto s) { return text(s.getName()); }));
    else
      list.next() += to_json(changed(
          taken, [&](auto s) { s.setName(of.name + "/" + text(s.asReader().getName())); })); // as in lists of volumes
  reply_sync(from, std::move(list).take());
}

void post_volume_snapshots(const rest_request& from) {
  if (!is_custom(from)) return;
  auto body = body_of<schema::VolumeSnapshotsPost>(from);
  if (!body) return reply_error(from, body.error());
  ask_async(from, role::pools, snapshot_volume{from.parameter(0), from.parameter(2), {*body, from.head}});
}

void get_volume_snapshot(const rest_request& from) {
  if (!is_custom(from)) return;
  auto records = from.with().db.read();
  auto taken = load<schema::VolumeSnapshotSpec>(records, volume_snapshots_table,
                                                volume_snapshot_key(place_in(from, records), from.parameter(3)));
  if (!taken) return reply_error(from, {fault::not_found, "Storage volume snapshot not found"});
  reply_sync(from, to_json(*taken), etag_of(taken->bytes()));
}

void put_volume_snapshot(const rest_request& from) { edit(from, false); }
void patch_volume_snapshot(const rest_request& from) { edit(from, true); }

void post_volume_snapshot(const rest_request& from) {
  if (!is_custom(from)) return;
  auto body = body_of<schema::VolumeSnapshotPost>(from);
  if (!body) return reply_error(from, body.error());
  change_volume_snapshot what{verb::rename};
  what.new_name = body->read([](auto post) { return text(post.getName()); });
  change(from, std::move(what));
}

void delete_volume_snapshot(const rest_request& from) {
  if (is_custom(from)) change(from, change_volume_snapshot{verb::remove});
}

} // namespace troupe
