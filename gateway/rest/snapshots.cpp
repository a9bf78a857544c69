#include "actors/retention.hpp"
#include "gateway/rest/instance_view.hpp"
#include "gateway/rest/lists.hpp"
#include "gateway/rest/migration.hpp"
#include "gateway/rest/routes.hpp"

#include <charconv>

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
    return body->read([&](schema::SnapshotPost::Reader post) { send_migration(from, post); });
  change_snapshot what{verb::rename};
  what.new_name = body->read([](auto post) { return text(post.getName()); });
  change(from, std::move(what));
}

// What the tiers keep and what goes, also of tiers that are not set yet: ?keep-daily=7.
void get_retention(const rest_request& from) {
  auto records = from.with().db.read();
  auto spec = load<schema::InstanceSpec>(records, table::instances, in_project(from.head->project, from.parameter(0)));
  if (!spec) return reply_error(from, {fault::not_found, "Instance not found"});
  retention instead;
  for (size_t i = 0; i < instead.keep.size(); ++i) {
    auto name = "keep-" + std::string{retention::names[i]};
    auto value = from.http->parameter(name);
    if (value.empty()) continue;
    auto [end, bad] = std::from_chars(value.data(), value.data() + value.size(), instead.keep[i]);
    if (bad != std::errc{} || end != value.data() + value.size() || instead.keep[i] < 0)
      return reply_error(from, {fault::invalid, "The parameter " + name + " must be a whole number"});
  }
  auto tiers = retention_of(spec->read([&](auto s) { return expand(records, s); }).config, instead);
  json_list list;
  for (auto& each : retain(snapshots_of(records, from.head->project, from.parameter(0)), tiers))
    list.next() += to_json(view_of(each));
  reply_sync(from, std::move(list).take());
}

void post_retention(const rest_request& from) {
  ask_async(from, role::instances, target(from), prune_snapshots{from.head});
}

void delete_snapshot(const rest_request& from) { change(from, change_snapshot{verb::remove}); }

} // namespace troupe
