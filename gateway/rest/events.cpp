#include "actors/event_replay.hpp"
#include "actors/lifecycle_event.hpp"
#include "gateway/event_scope.hpp"
#include "gateway/rest/event_session.hpp"
#include "gateway/rest/lists.hpp"
#include "gateway/rest/live_streams.hpp"
#include "gateway/rest/routes.hpp"
#include "messages/time.hpp"
#include "runtime/uuid.hpp"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

namespace troupe {
namespace {

constexpr std::string_view level_names[] = {"debug", "info", "warning", "error"};
constexpr uint64_t history_shown = 100, history_max = 10'000;

// What stock clients do not send: with any of these, frames carry cursors.
constexpr std::string_view own_parameters[] = {"since",   "filter", "snapshot",  "durable",
                                               "cursors", "level",  "operation", "principal"};

std::string parameter(const rest_request& from, std::string_view name) {
  return std::string{from.http->parameter(name)};
}

std::vector<std::string> words_of_list(const std::string& list) {
  std::vector<std::string> out;
  for (size_t at = 0; !list.empty() && at <= list.size();) {
    auto comma = std::min(list.find(',', at), list.size());
    out.push_back(list.substr(at, comma - at));
    at = comma + 1;
  }
  return out;
}

// The project is a subject's first part; what belongs to the server reaches everybody.
outcome<std::vector<std::string>> subjects_of(const rest_request& from) {
  bool all = is_true(from.http->parameter("all-projects"));
  auto project = parameter(from, "project");
  if (all && !project.empty()) return fail(fault::invalid, "\"all-projects\" excludes \"project\"");
  auto subjects = words_of_list(parameter(from, "filter"));
  bool durable = !from.http->parameter("durable").empty();
  if ((durable || !subjects.empty()) && (all || !project.empty()))
    return fail(fault::invalid, "\"filter\" and \"durable\" exclude \"project\": it is the first part of a subject");
  if (durable || all || !subjects.empty()) return subjects;
  return usual_subjects(from.head->who, from.head->project);
}

outcome<event_filter> filter_of(const rest_request& from) {
  auto subjects = subjects_of(from);
  if (!subjects) return tl::unexpected{subjects.error()};
  if (auto good = judge_event_scope(from.head->who, !from.http->parameter("durable").empty(), *subjects); !good)
    return tl::unexpected{good.error()};
  event_filter out{std::move(*subjects), words_of_list(parameter(from, "type"))};
  out.operation = parameter(from, "operation");
  out.principal = parameter(from, "principal");
  auto level = parameter(from, "level");
  auto at = std::find(std::begin(level_names), std::end(level_names), level.empty() ? "debug" : level);
  if (at == std::end(level_names)) return fail(fault::invalid, "\"level\" is debug, info, warning or error");
  out.least_level = static_cast<schema::Event::Level>(at - std::begin(level_names));
  return out;
}

outcome<open_subscription> subscription_of(const rest_request& from) {
  auto filter = filter_of(from);
  if (!filter) return tl::unexpected{filter.error()};
  open_subscription out;
  out.head = from.head;
  out.filter = std::move(*filter);
  out.snapshot = is_true(from.http->parameter("snapshot"));
  out.durable = parameter(from, "durable");
  auto since = parameter(from, "since");
  if (since == "beginning") out.start = start_at::beginning;
  if (since.empty() || since == "beginning") return out;
  auto cursor = parse_event_cursor(since);
  if (!cursor) return tl::unexpected{cursor.error()};
  out.start = start_at::cursor;
  out.from = std::move(*cursor);
  return out;
}

std::string durable_json(const durable_facts& facts) {
  auto& filter = facts.filter;
  return nlohmann::json{{"name", facts.name},
                        {"filter",
                         {{"subjects", filter.subjects},
                          {"types", filter.types},
                          {"level", level_names[static_cast<size_t>(filter.least_level) % std::size(level_names)]},
                          {"operation", filter.operation},
                          {"principal", filter.principal}}},
                        {"acknowledged", to_string(facts.acknowledged)},
                        {"created_at", to_rfc3339(facts.created_at)},
                        {"acknowledged_at", to_rfc3339(facts.acknowledged_at)},
                        {"owner", facts.owner},
                        {"connected", facts.connected},
                        {"lag", facts.lag}}
      .dump();
}

outcome<uint64_t> number_of(const rest_request& from, std::string_view name, uint64_t fallback) {
  auto text = from.http->parameter(name);
  if (text.empty()) return fallback;
  uint64_t value = 0;
  auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (problem != std::errc{} || end != text.data() + text.size())
    return fail(fault::invalid, "\"" + std::string{name} + "\" must be a whole number");
  return value;
}

std::string history_json(const std::vector<message<schema::Event>>& events) {
  json_list list;
  for (auto& event : events)
    event.read([&](schema::Event::Reader e) {
      list.next() += event_json(e, to_string({e.getEpoch(), text(e.getMember()), e.getSeq()}));
    });
  return std::move(list).take();
}

/// Closed when its user loses rights. Who has a certificate loses the whole connection.
class cut_socket final : public stream_set {
public:
  explicit cut_socket(std::weak_ptr<websocket> socket) : socket_{std::move(socket)} {}
  void connected(const std::string&, std::shared_ptr<websocket>) override {}
  void abandoned() override {}
  void cut() override {
    constexpr uint16_t policy_violation = 1008;
    if (auto socket = socket_.lock()) socket->close(policy_violation);
  }

private:
  std::weak_ptr<websocket> socket_;
};

void cut_with_rights(const rest_request& from, const std::shared_ptr<websocket>& socket) {
  auto& streams = from.context.streams;
  auto id = "events " + make_uuid_v4(); // no operation's
  streams.open(id, from.head->who.username, {}, {}, std::make_shared<cut_socket>(socket));
  socket->on_close([&streams, id] { streams.close(id); });
}

} // namespace

void events_websocket(const rest_request& from) {
  auto request = subscription_of(from);
  if (!request) return reply_error(from, request.error());
  if (!from.http->wants_websocket) return reply_error(from, {fault::invalid, "The events are a websocket"});
  bool own = std::any_of(std::begin(own_parameters), std::end(own_parameters),
                         [&](auto name) { return from.http->query.count(name) > 0; });
  auto session = std::make_shared<event_session>(own ? event_session::dialect::cursors : event_session::dialect::lxd);
  request->deliver = [session](const delivery& what) { session->deliver(what); };
  request->ended = [session](const error& why) { session->ended(why); };
  ask<subscription_ptr>(
      from, role::events,
      [from, session](const outcome<subscription_ptr>& events) {
        if (!events) return reply_error(from, events.error());
        from.answer.accept_websocket([from, session, events = *events](std::shared_ptr<websocket> socket) {
          if (from.head->who.protocol == "oidc") cut_with_rights(from, socket);
          session->begin(std::move(socket), events);
        });
      },
      *request);
}

void get_event_history(const rest_request& from) {
  auto entity = parameter(from, "entity");
  auto first = entity.find('/');
  auto second = first == entity.npos ? first : entity.find('/', first + 1);
  if (second == entity.npos || second + 1 == entity.size() || entity.size() > 500)
    return reply_error(from, {fault::invalid, "\"entity\" must be KIND/PROJECT/NAME, like instance/default/c1"});
  auto project = std::string_view{entity}.substr(first + 1, second - first - 1);
  if (!may_follow(from.head->who, project)) return reply_error(from, {fault::not_found, "Project not found"});
  auto limit = number_of(from, "limit", history_shown), before = number_of(from, "before", 0);
  if (!limit || !before) return reply_error(from, limit ? before.error() : limit.error());
  if (*limit == 0 || *limit > history_max)
    return reply_error(from, {fault::invalid, "\"limit\" must be between 1 and 10000"});
  reply_from_blocking_thread(from,
                             [from, entity, first, second, limit = *limit, before = *before]() -> outcome<std::string> {
                               std::string_view all = entity;
                               return history_json(entity_history(from.with().db.read(), all.substr(0, first),
                                                                  all.substr(first + 1, second - first - 1),
                                                                  all.substr(second + 1), before, limit));
                             });
}

void get_event_subscriptions(const rest_request& from) {
  ask<durable_list>(
      from, role::events,
      [from](const outcome<durable_list>& found) {
        if (!found) return reply_error(from, found.error());
        json_list list;
        for (auto& one : *found)
          from.recursion() > 0 ? void(list.next() += durable_json(one))
                               : list.url("/1.0/events/subscriptions/", one.name);
        reply_sync(from, std::move(list).take());
      },
      list_durables{});
}

void get_event_subscription(const rest_request& from) {
  ask<durable_facts>(
      from, role::events,
      [from](const outcome<durable_facts>& found) {
        if (!found) return reply_error(from, found.error());
        reply_sync(from, durable_json(*found));
      },
      find_durable{from.parameter(0)});
}

void delete_event_subscription(const rest_request& from) {
  ask<void>(
      from, role::events,
      [from](const outcome<void>& done) {
        if (!done) return reply_error(from, done.error());
        reply_sync(from, "{}");
      },
      delete_durable{from.parameter(0)});
}

} // namespace troupe
