#include "actors/event_replay.hpp"

#include "actors/instance_lifecycle.hpp"
#include "actors/lifecycle_event.hpp"
#include "actors/records.hpp"
#include "messages/json.hpp"

#include <deque>

namespace troupe {
namespace {

constexpr size_t portion_bytes_max = 1 << 20;
constexpr size_t looked_at_max = 20'000; // so that a filter that matches little does not hold a thread, or its view

delivery gap(uint64_t from, uint64_t to) {
  delivery out;
  out.what = delivery::kind::gap;
  out.gap_from = from;
  out.gap_to = to;
  out.at.seq = to;
  return out;
}

delivery event_at(uint64_t seq, message<schema::Event> event) {
  delivery out;
  out.event = std::move(event);
  out.at.seq = seq;
  return out;
}

} // namespace

replay_portion replay(const snapshot& from, uint64_t next, const event_matcher& wanted, size_t count_max) {
  replay_portion out;
  out.next = next;
  size_t bytes = 0, looked_at = 0;
  bool all = true, all_match = wanted.everything();
  from.scan_from(table::events, event_key(next), [&](std::string_view key, std::string_view value) {
    all = out.found.size() < count_max && bytes < portion_bytes_max && looked_at++ < looked_at_max;
    if (!all) return false;
    auto seq = event_seq(key);
    if (seq != out.next) { // the event itself is for the next round, which has room for it
      out.found.push_back(gap(out.next, seq - 1));
      out.next = seq;
      if (out.found.size() == count_max) return all = false;
    }
    out.next = seq + 1;
    auto event = message<schema::Event>::from_bytes(value);
    if (!all_match && !wanted.matches(event.read(facts_of))) return true;
    bytes += value.size();
    out.found.push_back(event_at(seq, std::move(event)));
    return true;
  });
  if (auto last = from.last_seq(); all && out.next <= last && out.found.size() < count_max) {
    out.found.push_back(gap(out.next, last)); // all of it was removed
    out.next = last + 1;
  }
  return out;
}

// ---- rows

namespace {

using show_function = std::string (*)(const snapshot& from, std::string_view key, std::string_view bytes);

template <class Schema>
std::string show_record(const snapshot&, std::string_view, std::string_view bytes) {
  return to_json(message<Schema>::from_bytes(bytes));
}

std::string show_instance(const snapshot& from, std::string_view key, std::string_view bytes) {
  auto status = load<schema::InstanceStatus>(from, table::statuses, key);
  auto& shown = words_of(status ? status->read([](auto s) { return s.getState(); }) : instance_state::STOPPED);
  std::string out = "{";
  message<schema::InstanceSpec>::from_bytes(bytes).read([&](auto spec) { write_json_fields(out, spec); });
  write_json_name(out, "status");
  write_json_string(out, shown.word);
  write_json_name(out, "status_code");
  return out + std::to_string(shown.code) + '}';
}

struct row_source {
  table where;
  std::string_view kind;
  bool in_project; // keys are PROJECT/NAME; else the events of such things are those of project default
  show_function show;
};
constexpr row_source row_sources[] = {
    {table::profiles, "profile", true, show_record<schema::ProfileSpec>},
    {table::networks, "network", true, show_record<schema::NetworkSpec>},
    {table::pools, "storage-pool", false, show_record<schema::PoolSpec>},
    {table::images, "image", true, show_record<schema::ImageSpec>},
    {table::instances, "instance", true, show_instance},
};

class row_reader {
public:
  row_reader(const snapshot& from, const event_matcher& wanted, size_t bytes_max)
      : from_{from}, wanted_{wanted}, bytes_max_{bytes_max} {}

  outcome<snapshot_rows> run() {
    for (auto& source : row_sources)
      from_.scan(source.where, "", [&](std::string_view key, std::string_view bytes) {
        auto slash = source.in_project ? key.find('/') : key.npos;
        auto project = slash == key.npos ? std::string_view{"default"} : key.substr(0, slash);
        auto name = slash == key.npos ? key : key.substr(slash + 1);
        return add(schema::Event::Type::LIFECYCLE, source.kind, project, name,
                   [&] { return source.show(from_, key, bytes); });
      });
    add_running_operations();
    if (out_.bytes > bytes_max_) return fail(fault::too_large, "The snapshot is too large; ask for less by a filter");
    out_.last_seq = from_.last_seq();
    return std::move(out_);
  }

private:
  // What has ended is no state but history.
  void add_running_operations() {
    from_.scan(table::journal, "", [&](std::string_view id, std::string_view) {
      auto record = load<schema::Operation>(from_, table::operations, id);
      if (!record) return true;
      auto project = record->read([](auto op) { return text(op.getProject()); });
      return add(schema::Event::Type::OPERATION, "operation", project, id, [&] { return operation_json(*record); });
    });
  }

  template <class Show>
  bool add(schema::Event::Type type, std::string_view kind, std::string_view project, std::string_view name,
           Show&& show) {
    auto make = [&](const std::string& json) {
      return message<schema::Event>::make([&](schema::Event::Builder row) {
        row.setType(type);
        row.setKind(std::string{kind});
        row.setProject(std::string{project});
        row.setEntity(std::string{name});
        row.setMetadata(json);
      });
    };
    if (!wanted_.covers(make({}).read(facts_of))) return true;
    out_.rows.push_back(make(show()));
    out_.bytes += out_.rows.back().bytes().size();
    return out_.bytes <= bytes_max_;
  }

  const snapshot& from_;
  const event_matcher& wanted_;
  size_t bytes_max_;
  snapshot_rows out_;
};

} // namespace

outcome<snapshot_rows> read_rows(const snapshot& from, const event_matcher& wanted, size_t bytes_max) {
  return row_reader{from, wanted, bytes_max}.run();
}

std::vector<message<schema::Event>> entity_history(const snapshot& from, std::string_view kind,
                                                   std::string_view project, std::string_view name, uint64_t before,
                                                   size_t count_max) {
  std::deque<uint64_t> newest; // LMDB is walked forwards; an entity's index is short, and without values
  from.scan(table::history, history_prefix(kind, project, name), [&](std::string_view key, std::string_view) {
    auto seq = event_seq(key);
    if (before != 0 && seq >= before) return false;
    newest.push_back(seq);
    if (newest.size() > count_max) newest.pop_front();
    return true;
  });
  std::vector<message<schema::Event>> out;
  for (auto seq : newest)
    if (auto bytes = from.get(table::events, event_key(seq))) out.push_back(message<schema::Event>::from_bytes(*bytes));
  return out;
}

} // namespace troupe
