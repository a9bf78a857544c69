#include "actors/instance_snapshot.hpp"
#include "gateway/rest/instance_view.hpp"
#include "gateway/rest/lists.hpp"
#include "gateway/rest/routes.hpp"

namespace troupe {
namespace {

using verb = change_snapshot::verb;

to_instance target(const rest_request& from) { return {from.head->project, from.parameter(0)}; }

bool is_there(const rest_request& from, const snapshot& records) {
  return records.get(table::instances, in_project(from.head->project, from.parameter(0))).has_value();
}

outcome<std::string> list_snapshots(const rest_request& from) {
  auto records = from.with().db.read();
  if (!is_there(from, records)) return fail(fault::not_found, "Instance not found");
  json_list list;
  for (auto& taken : snapshots_of(records, from.head->project, from.parameter(0)))
    if (from.recursion() == 0)
      list.url("/1.0/instances/" + from.parameter(0) + "/snapshots/",
               taken.read([](auto s) { return text(s.getName()); }));
    else
      write_snapshot(list.next(), records, from.head->project, taken);
  return std::move(list).take();
}

void change(const rest_request& from, change_snapshot what) {
  what.head = from.head;
  what.name = from.parameter(1);
  ask_async(from, role::instances, target(from), std::move(what));
}

} // namespace

void get_snapshots(const rest_request& from) {
  reply_from_blocking_thread(from, [from] { return list_snapshots(from); });
}

void post_snapshots(const rest_request& from) {
  auto body = body_of<schema::SnapshotsPost>(from);
  if (!body) return reply_error(from, body.error());
  ask_async(from, role::instances, target(from), envelope<schema::SnapshotsPost>{*body, from.head});
}

void get_snapshot(const rest_request& from) {
  auto records = from.with().db.read();
  auto taken = load<schema::SnapshotSpec>(records, table::snapshots,
                                          snapshot_key(from.head->project, from.parameter(0), from.parameter(1)));
  if (!taken) return reply_error(from, {fault::not_found, "Snapshot not found"});
  std::string out;
  write_snapshot(out, records, from.head->project, *taken);
  reply_sync(from, out, etag_of(taken->bytes()));
}

// PUT and PATCH: there is one field.
void put_snapshot(const rest_request& from) {
  auto body = body_of<schema::SnapshotPut>(from);
  if (!body) return reply_error(from, body.error());
  change_snapshot what{verb::update};
  what.etag = from.etag();
  what.expires_at = body->read([](auto put) { return put.getExpiresAt(); });
  change(from, std::move(what));
}

void post_snapshot(const rest_request& from) {
  auto body = body_of<schema::SnapshotPost>(from);
  if (!body) return reply_error(from, body.error());
  if (body->read([](auto post) { return post.getMigration() || post.hasTarget(); }))
    return reply_error(from, {fault::unsupported, "Migrating snapshots is not supported yet"});
  change_snapshot what{verb::rename};
  what.new_name = body->read([](auto post) { return text(post.getName()); });
  change(from, std::move(what));
}

void delete_snapshot(const rest_request& from) { change(from, change_snapshot{verb::remove}); }

} // namespace troupe
