#include "actors/warnings.hpp"

#include "actors/store_actor.hpp"
#include "runtime/uuid.hpp"

namespace troupe {
namespace {

using warning_record = message<schema::Warning>;
using status = schema::Warning::Status;

std::string key_of(const warning_kind& kind, const std::string& project, const std::string& url) {
  return (std::string{kind.type} + '/' + project + url).substr(0, 500);
}

void commit(const services& with, const snapshot& records, const std::string& key, const warning_record& to) {
  batch change;
  change.conditions.push_back(unchanged(records, table::warnings, key)); // seen by two at once, it counts once
  change.writes.push_back(put(table::warnings, key, to));
  caf::anon_send(with.find(role::store), propose{std::make_shared<const batch>(std::move(change))});
}

} // namespace

void raise_warning(const services& with, const warning_kind& kind, const std::string& project, const std::string& url,
                   const std::string& message) {
  auto records = with.db.read();
  auto key = key_of(kind, project, url);
  auto known = load<schema::Warning>(records, table::warnings, key);
  auto fresh = warning_record::make([&](schema::Warning::Builder w) {
    w.setUuid(make_uuid_v4());
    w.setLocation("none");
    w.setProject(project);
    w.setType(std::string{kind.type});
    w.setSeverity(kind.severity);
    w.setEntityUrl(url);
    w.setFirstSeenAt(now_ns());
  });
  commit(with, records, key, changed(known.value_or(fresh), [&](schema::Warning::Builder w) {
           if (w.getStatus() == status::RESOLVED) w.setStatus(status::NEW);
           w.setCount(w.getCount() + 1);
           w.setLastSeenAt(now_ns());
           w.setLastMessage(message);
         }));
}

void resolve_warning(const services& with, const warning_kind& kind, const std::string& project,
                     const std::string& url) {
  auto records = with.db.read();
  auto key = key_of(kind, project, url);
  auto known = load<schema::Warning>(records, table::warnings, key);
  if (!known || known->read([](auto w) { return w.getStatus(); }) == status::RESOLVED) return;
  commit(with, records, key, changed(*known, [](schema::Warning::Builder w) { w.setStatus(status::RESOLVED); }));
}

std::optional<stored_warning> find_warning(const snapshot& records, std::string_view uuid) {
  std::optional<stored_warning> found;
  records.scan(table::warnings, "", [&](std::string_view key, std::string_view bytes) {
    auto record = warning_record::from_bytes(bytes);
    if (record.read([&](schema::Warning::Reader w) { return view(w.getUuid()) == uuid; }))
      found = stored_warning{std::string{key}, record};
    return !found;
  });
  return found;
}

} // namespace troupe
