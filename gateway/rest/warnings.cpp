#include "actors/warnings.hpp"
#include "actors/lifecycle_event.hpp"
#include "actors/store_actor.hpp"
#include "gateway/rest/lists.hpp"
#include "gateway/rest/routes.hpp"

namespace troupe {
namespace {

using status = schema::Warning::Status;

std::optional<stored_warning> named(const rest_request& from, const snapshot& records) {
  auto found = find_warning(records, from.parameter(0));
  if (!found) reply_error(from, {fault::not_found, "Warning not found"});
  return found;
}

// The change and its event, if the warning is still what was read.
void commit(const rest_request& from, const snapshot& records, const stored_warning& what, write change,
            std::string_view action) {
  batch all;
  all.conditions.push_back(unchanged(records, table::warnings, what.key));
  all.writes.push_back(std::move(change));
  header head = *from.head;
  head.project.clear(); // it concerns the server
  all.events.push_back(
      lifecycle_event(head, "warning", from.parameter(0), action, "/1.0/warnings/" + from.parameter(0)));
  ask<committed_ptr>(
      from, role::store,
      [from](const outcome<committed_ptr>& done) {
        if (done)
          reply_sync(from, "{}");
        else
          reply_error(from, done.error());
      },
      propose{std::make_shared<const batch>(std::move(all))});
}

} // namespace

void get_warnings(const rest_request& from) {
  auto filter = list_filter::parse(from.http->parameter("filter"));
  if (!filter) return reply_error(from, filter.error());
  auto project = from.http->parameter("project");
  json_list list;
  from.with().db.read().scan(table::warnings, "", [&](std::string_view, std::string_view bytes) {
    auto record = message<schema::Warning>::from_bytes(bytes);
    auto shown = to_json(record);
    if (!filter->matches(shown)) return true;
    record.read([&](schema::Warning::Reader w) {
      if (!project.empty() && view(w.getProject()) != project) return;
      if (from.recursion() > 0)
        list.next() += shown;
      else
        list.url("/1.0/warnings/", view(w.getUuid()));
    });
    return true;
  });
  reply_sync(from, std::move(list).take());
}

void get_warning(const rest_request& from) {
  if (auto found = named(from, from.with().db.read())) reply_sync(from, to_json(found->record));
}

void put_warning(const rest_request& from) {
  auto body = body_of<schema::WarningPut>(from);
  if (!body) return reply_error(from, body.error());
  auto wanted = body->read([](schema::WarningPut::Reader put) { return text(put.getStatus()); });
  if (wanted != "new" && wanted != "acknowledged")
    return reply_error(from, {fault::invalid, "The status of a warning can be set to \"new\" or \"acknowledged\""});
  auto records = from.with().db.read();
  auto found = named(from, records);
  if (!found) return;
  bool seen = wanted == "acknowledged";
  auto to = changed(found->record,
                    [&](schema::Warning::Builder w) { w.setStatus(seen ? status::ACKNOWLEDGED : status::NEW); });
  commit(from, records, *found, put(table::warnings, found->key, to), seen ? "warning-acknowledged" : "warning-reset");
}

void delete_warning(const rest_request& from) {
  auto records = from.with().db.read();
  if (auto found = named(from, records))
    commit(from, records, *found, erase(table::warnings, found->key), "warning-deleted");
}

} // namespace troupe
