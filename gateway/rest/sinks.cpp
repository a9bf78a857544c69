#include "actors/sinks.hpp"

#include "actors/subscription.hpp"
#include "gateway/rest/lists.hpp"
#include "gateway/rest/routes.hpp"

namespace troupe {
namespace {

using verb = change_sink::verb;
using spec_record = message<schema::SinkSpec>;
using status_record = message<schema::SinkStatus>;

uint64_t lag_of(const store& db, const event_cursor& at, const std::string& member) {
  auto last = db.last_seq();
  bool ours = at.epoch == db.epoch() && at.member == member;
  return ours ? last - std::min(last, at.seq) : last;
}

std::string state_json(const services& with, const snapshot& records, std::string_view name) {
  size_t dead = 0;
  records.scan(table::dead_letters, dead_letters_of(name), [&](auto, auto) { return ++dead > 0; });
  auto status = load<schema::SinkStatus>(records, table::sink_statuses, name).value_or(status_record{});
  return status.read([&](schema::SinkStatus::Reader s) {
    event_cursor at{s.getEpoch(), text(s.getMember()), s.getSeq()};
    std::string out = "{";
    write_json_fields(out, s);
    write_json_name(out, "cursor");
    write_json_string(out, to_string(at));
    write_json_name(out, "lag");
    out += std::to_string(lag_of(with.db, at, with.server_name));
    write_json_name(out, "dead_letters");
    return out + std::to_string(dead) + "}";
  });
}

std::string sink_json(const services& with, const snapshot& records, const spec_record& sink, bool with_state) {
  std::string out = "{";
  sink.read([&](schema::SinkSpec::Reader s) {
    write_json_fields(out, s);
    std::vector<std::string> secrets;
    for (auto& [key, value] : to_map(s.getSecrets())) secrets.push_back(key);
    write_string_list(out, "secrets", secrets); // their names: what they are is never shown
    if (!with_state) return;
    write_json_name(out, "state");
    out += state_json(with, records, view(s.getName()));
  });
  return out + "}";
}

void change(const rest_request& from, verb what) {
  auto body = body_of<schema::SinkPut>(from);
  if (!body) return reply_error(from, body.error());
  ask_sync(from, role::sinks, "", change_sink{what, from.head, from.parameter(0), from.etag(), *body, {}, {}});
}

} // namespace

void get_sinks(const rest_request& from) {
  reply_from_blocking_thread(from, [from]() -> outcome<std::string> {
    auto records = from.with().db.read();
    json_list list;
    records.scan(table::sinks, "", [&](std::string_view name, std::string_view bytes) {
      if (from.recursion() == 0)
        list.url("/1.0/sinks/", name);
      else
        list.next() += sink_json(from.with(), records, spec_record::from_bytes(bytes), from.recursion() == 2);
      return true;
    });
    return std::move(list).take();
  });
}

void get_sink(const rest_request& from) {
  auto records = from.with().db.read();
  auto sink = load<schema::SinkSpec>(records, table::sinks, from.parameter(0));
  if (!sink) return reply_error(from, {fault::not_found, "Sink not found"});
  reply_sync(from, sink_json(from.with(), records, *sink, false), etag_of(sink->bytes()));
}

void post_sinks(const rest_request& from) {
  auto post = body_of<schema::SinksPost>(from);
  if (!post) return reply_error(from, post.error());
  post->read([&](schema::SinksPost::Reader p) {
    auto put = message<schema::SinkPut>::make([&](schema::SinkPut::Builder b) {
      b.setDescription(p.getDescription());
      b.setConfig(p.getConfig());
      b.setFilter(p.getFilter());
      b.setTypes(p.getTypes());
    });
    auto name = text(p.getName());
    ask_sync(from, role::sinks, "/1.0/sinks/" + name,
             change_sink{verb::create, from.head, name, {}, put, text(p.getType()), text(p.getStart())});
  });
}

void put_sink(const rest_request& from) { change(from, verb::update); }
void patch_sink(const rest_request& from) { change(from, verb::patch); }

void delete_sink(const rest_request& from) {
  ask_sync(from, role::sinks, "", change_sink{verb::remove, from.head, from.parameter(0), from.etag(), {}, {}, {}});
}

void get_sink_state(const rest_request& from) {
  reply_from_blocking_thread(from, [from]() -> outcome<std::string> {
    auto records = from.with().db.read();
    if (!records.get(table::sinks, from.parameter(0))) return fail(fault::not_found, "Sink not found");
    return state_json(from.with(), records, from.parameter(0));
  });
}

void get_dead_letters(const rest_request& from) {
  reply_from_blocking_thread(from, [from]() -> outcome<std::string> {
    auto records = from.with().db.read();
    if (!records.get(table::sinks, from.parameter(0))) return fail(fault::not_found, "Sink not found");
    json_list list;
    records.scan(table::dead_letters, dead_letters_of(from.parameter(0)),
                 [&](std::string_view, std::string_view bytes) {
                   list.next() += to_json(message<schema::DeadLetter>::from_bytes(bytes));
                   return true;
                 });
    return std::move(list).take();
  });
}

void delete_dead_letters_(const rest_request& from) {
  ask_sync(from, role::sinks, "", delete_dead_letters{from.head, from.parameter(0)});
}

} // namespace troupe
