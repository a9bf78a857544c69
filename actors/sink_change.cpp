#include "actors/event_filter.hpp"
#include "actors/names.hpp"
#include "actors/sinks.hpp"
#include "actors/subscription.hpp"
#include "backends/sink/sink_config.hpp"

#include <algorithm>

namespace troupe {
namespace {

using verb = change_sink::verb;
using spec_record = message<schema::SinkSpec>;

std::string url_of(const std::string& name) { return "/1.0/sinks/" + name; }

outcome<void> check_filter(const event_filter& wanted) {
  if (auto good = event_matcher::parse(wanted); !good) return tl::unexpected{good.error()};
  if (std::find(wanted.types.begin(), wanted.types.end(), "logging") != wanted.types.end())
    return fail(fault::unsupported, "Log lines are not kept, so that a sink cannot promise to deliver them: its types "
                                    "are lifecycle and operation");
  return {};
}

// Two writers would cut each other's lines.
outcome<void> check_file(const snapshot& records, const std::string& name, const config_map& config) {
  auto file = sink_file_name(name, config);
  outcome<void> good;
  records.scan(table::sinks, "", [&](std::string_view other, std::string_view bytes) {
    spec_record::from_bytes(bytes).read([&](schema::SinkSpec::Reader spec) {
      if (other != name && view(spec.getType()) == "file" &&
          sink_file_name(std::string{other}, to_map(spec.getConfig())) == file)
        good = fail(fault::in_use, "The sink \"" + std::string{other} + "\" writes to \"" + file + "\" already");
    });
    return good.has_value();
  });
  return good;
}

outcome<void> check(const snapshot& records, const spec_record& wanted) {
  return wanted.read([&](schema::SinkSpec::Reader spec) -> outcome<void> {
    if (auto good = check_text("description", view(spec.getDescription())); !good) return good;
    if (auto good = check_filter({to_vector(spec.getFilter()), to_vector(spec.getTypes())}); !good) return good;
    auto config = to_map(spec.getConfig());
    auto all = config;
    all.merge(to_map(spec.getSecrets()));
    if (auto good = check_sink_config(view(spec.getType()), all); !good) return good;
    return view(spec.getType()) == "file" ? check_file(records, text(spec.getName()), config) : outcome<void>{};
  });
}

// A secret is kept apart from the moment it comes in. One that the request does not name stays.
spec_record merged(const spec_record& before, const change_sink& request) {
  bool patch = request.what == verb::patch;
  return request.body.read([&](schema::SinkPut::Reader put) {
    auto given = to_map(put.getConfig());
    config_map config, secrets;
    before.read([&](schema::SinkSpec::Reader old) {
      if (patch) config = to_map(old.getConfig());
      secrets = to_map(old.getSecrets());
      for (auto& [key, value] : given) {
        auto row = find_sink_key(view(old.getType()), key);
        (row && row->secret ? secrets : config).insert_or_assign(key, value);
      }
    });
    for (auto* map : {&config, &secrets}) std::erase_if(*map, [](auto& entry) { return entry.second.empty(); });
    return changed(before, [&](schema::SinkSpec::Builder spec) {
      if (!patch || put.hasDescription()) spec.setDescription(put.getDescription());
      if (!patch || put.hasFilter()) spec.setFilter(put.getFilter());
      if (!patch || put.hasTypes()) spec.setTypes(put.getTypes());
      fill(spec.initConfig(static_cast<unsigned>(config.size())), config);
      fill(spec.initSecrets(static_cast<unsigned>(secrets.size())), secrets);
    });
  });
}

outcome<event_cursor> first_cursor(const services& with, const std::string& start) {
  event_cursor at{with.db.epoch(), with.server_name, with.db.last_seq()};
  if (start == "beginning")
    at.seq = std::max<uint64_t>(with.db.first_seq(), 1) - 1;
  else if (!start.empty() && start != "now") {
    auto given = parse_event_cursor(start);
    if (!given) return given;
    if (given->epoch == at.epoch && given->member == at.member && given->seq > at.seq)
      return fail(fault::invalid, "The cursor " + start + " is ahead of the event log");
    return given;
  }
  return at;
}

std::shared_ptr<saga> new_saga(const std::shared_ptr<const header>& head, const std::string& name, std::string kind,
                               std::string description) {
  auto plan = std::make_shared<saga>();
  plan->kind = std::move(kind);
  plan->description = std::move(description);
  plan->head = head;
  plan->entity = "sink/" + name;
  return plan;
}

void apply_afterwards(saga& plan, const std::string& name) { plan.after.push_back({"sink.apply", {{"sink", name}}}); }

// Sinks belong to the server, not to a project.
message<schema::Event> sink_event(const header& head, const std::string& name, std::string_view action,
                                  const config_map& context = {}) {
  auto server_wide = head;
  server_wide.project = "default";
  return changed(lifecycle_event(server_wide, "sink", name, action, url_of(name), context),
                 [](schema::Event::Builder event) { event.setProject(""); });
}

outcome<std::shared_ptr<saga>> plan_create(const services& with, const snapshot& records, const change_sink& request) {
  if (auto good = check_plain_name("Sink", request.name); !good) return tl::unexpected{good.error()};
  if (records.get(table::sinks, request.name)) return fail(fault::already_exists, "The sink already exists");
  size_t known = 0;
  records.scan(table::sinks, "", [&](auto, auto) { return ++known < sinks_max; });
  if (known == sinks_max) return fail(fault::too_large, "There are " + std::to_string(sinks_max) + " sinks already");
  auto at = first_cursor(with, request.start);
  if (!at) return tl::unexpected{at.error()};
  auto spec = merged(spec_record::make([&](schema::SinkSpec::Builder s) {
                       s.setName(request.name);
                       s.setType(request.type);
                       s.setCreatedAt(now_ns());
                     }),
                     request);
  if (auto good = check(records, spec); !good) return tl::unexpected{good.error()};
  auto plan = new_saga(request.head, request.name, "sink.create", "Creating sink");
  plan->commit.conditions.push_back(absent(table::sinks, request.name));
  plan->commit.writes.push_back(put(table::sinks, request.name, spec));
  plan->commit.writes.push_back(put(table::sink_statuses, request.name,
                                    message<schema::SinkStatus>::make([&](schema::SinkStatus::Builder status) {
                                      status.setEpoch(at->epoch);
                                      status.setMember(at->member);
                                      status.setSeq(at->seq);
                                    })));
  plan->commit.events.push_back(sink_event(*request.head, request.name, "sink-created"));
  apply_afterwards(*plan, request.name);
  return plan;
}

outcome<std::shared_ptr<saga>> plan_rest(const snapshot& records, const change_sink& request) {
  auto record = load<schema::SinkSpec>(records, table::sinks, request.name);
  if (!record) return fail(fault::not_found, "Sink not found");
  if (!request.etag.empty() && request.etag != etag_of(record->bytes()))
    return fail(fault::precondition, "The sink was changed in the meantime (ETag does not match)");
  bool remove = request.what == verb::remove;
  auto plan = new_saga(request.head, request.name, remove ? "sink.delete" : "sink.update",
                       remove ? "Deleting sink" : "Updating sink");
  plan->commit.conditions.push_back(unchanged(records, table::sinks, request.name));
  if (remove) {
    plan->commit.writes.push_back(erase(table::sinks, request.name));
  } else {
    auto after = merged(*record, request);
    if (auto good = check(records, after); !good) return tl::unexpected{good.error()};
    plan->commit.writes.push_back(put(table::sinks, request.name, after));
  }
  plan->commit.events.push_back(sink_event(*request.head, request.name, remove ? "sink-deleted" : "sink-updated"));
  apply_afterwards(*plan, request.name);
  return plan;
}

} // namespace

outcome<std::shared_ptr<saga>> plan_sink_change(const services& with, const change_sink& request) {
  auto records = with.db.read();
  return request.what == verb::create ? plan_create(with, records, request) : plan_rest(records, request);
}

outcome<std::shared_ptr<saga>> plan_dead_letters_end(const services& with, const delete_dead_letters& request) {
  auto records = with.db.read();
  if (!records.get(table::sinks, request.sink)) return fail(fault::not_found, "Sink not found");
  auto plan = new_saga(request.head, request.sink, "sink.update", "Deleting dead letters");
  records.scan(table::dead_letters, dead_letters_of(request.sink), [&](std::string_view key, std::string_view) {
    plan->commit.writes.push_back(erase(table::dead_letters, std::string{key}));
    return true;
  });
  auto count = std::to_string(plan->commit.writes.size());
  plan->commit.events.push_back(
      sink_event(*request.head, request.sink, "sink-dead-letters-deleted", {{"count", count}}));
  return plan;
}

} // namespace troupe
